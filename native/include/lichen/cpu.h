// Which instruction sets this machine can run, asked of the processor and of the operating system.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace lichen {

// In ascending order of preference. kernels/dispatch.cpp says which processors each one means.
enum class Isa {
  portable, avx2, avx_vnni, avx512, avx512_vnni, avx512_bf16, amx, neon, neon_dotprod, neon_i8mm
};

// Every set that both the processor (CPUID) and the operating system (XCR0, hwcaps) grant; best last.
// `portable` is always there.
const std::vector<Isa>& supported_isas();

// "portable", "avx2", "avx_vnni", "avx512", "avx512_vnni", "avx512_bf16", "amx", "neon", "neon_dotprod", "neon_i8mm".
std::string_view isa_name(Isa isa);

// The set of that name, or nothing when there is no such name (supported or not).
std::optional<Isa> parse_isa(std::string_view name);

#if defined(__x86_64__)
// One answer of CPUID; all zero where the processor has no such leaf.
struct CpuidLeaf {
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

// What the processor and the operating system say of themselves.
struct X86Facts {
  CpuidLeaf basic, extended, newer;  // leaves 1 and 7; 7, subleaf 1
  std::uint64_t saved_state = 0;     // XCR0; 0 where it cannot be read
  bool tiles_granted = false;        // whether the system lets this process use AMX
};

// The sets that these facts allow, of those that the compiler knew; best last.
std::vector<Isa> x86_isas(const X86Facts& facts);
#endif

}  // namespace lichen
