// Which instruction sets this machine can run, asked of the processor and of the operating system.
#pragma once

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

}  // namespace lichen
