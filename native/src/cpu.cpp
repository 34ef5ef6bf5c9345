#include "lichen/cpu.h"

#include <array>
#include <cstdint>
#include <utility>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace lichen {
namespace {

constexpr std::array<std::pair<Isa, std::string_view>, 10> kNames = {{{Isa::portable, "portable"},
                                                                     {Isa::avx2, "avx2"},
                                                                     {Isa::avx_vnni, "avx_vnni"},
                                                                     {Isa::avx512, "avx512"},
                                                                     {Isa::avx512_vnni, "avx512_vnni"},
                                                                     {Isa::avx512_bf16, "avx512_bf16"},
                                                                     {Isa::amx, "amx"},
                                                                     {Isa::neon, "neon"},
                                                                     {Isa::neon_dotprod, "neon_dotprod"},
                                                                     {Isa::neon_i8mm, "neon_i8mm"}}};

#if defined(__x86_64__)
CpuidLeaf cpuid(std::uint32_t leaf, std::uint32_t subleaf = 0) {
  CpuidLeaf r;
  if (!__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx)) return {};
  return r;
}

// The register state that the operating system saves and restores (Intel SDM volume 1, 13.3).
std::uint64_t saved_state() {
  std::uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<std::uint64_t>(high) << 32 | low;
}

constexpr bool all(std::uint64_t value, std::uint64_t bits) { return (value & bits) == bits; }

// Newer than some compilers' cpuid.h: leaf 7, subleaf 1, eax (Intel SDM volume 2A, CPUID).
constexpr std::uint32_t kAvxVnni = 1u << 4;
// Leaf 7, edx: AMX-BF16, AMX-TILE, AMX-INT8.
constexpr std::uint32_t kAmx = 1u << 22 | 1u << 24 | 1u << 25;
// XCR0: xmm, ymm; and opmask, zmm0-15 upper halves, zmm16-31; the tiles' configuration and data.
constexpr std::uint64_t kVectorState = 0x06, kVector512State = 0xe6, kTileState = std::uint64_t{3} << 17;

bool has_tiles(const X86Facts& facts) {
  return LICHEN_HAS_AMX && all(facts.extended.edx, kAmx) && all(facts.saved_state, kTileState);
}

// Linux hands out the tiles' 8 KiB a thread only on request (Documentation/arch/x86/xstate.rst), once for all
// threads.
bool request_tiles() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

// In a test build some kernels are plain C++, which any processor with the sets below can run.
void add_emulated([[maybe_unused]] X86Facts& facts) {
#if defined(LICHEN_EMULATE_AVX_VNNI)
  facts.newer.eax |= kAvxVnni;
#endif
#if defined(LICHEN_EMULATE_AMX)
  facts.extended.edx |= kAmx;
  facts.saved_state |= kTileState;
  facts.tiles_granted = true;
#endif
}

std::vector<Isa> probe() {
  X86Facts facts;
  facts.basic = cpuid(1);
  facts.extended = cpuid(7);
  if (facts.extended.eax >= 1) facts.newer = cpuid(7, 1);
  if (all(facts.basic.ecx, bit_OSXSAVE)) facts.saved_state = saved_state();  // else xgetbv is refused
  facts.tiles_granted = has_tiles(facts) && request_tiles();
  add_emulated(facts);
  return x86_isas(facts);
}
#elif defined(__aarch64__)
struct Features {
  bool dotprod, i8mm;
};

#if defined(__linux__)
// Linux reports what it grants (Documentation/arch/arm64/elf_hwcaps.rst); the names of the newer bits
// are missing in older headers.
Features features() {
  constexpr unsigned long kDotprod = 1ul << 20;  // HWCAP_ASIMDDP
  constexpr unsigned long kI8mm = 1ul << 13;     // HWCAP2_I8MM
  return {(getauxval(AT_HWCAP) & kDotprod) != 0, (getauxval(AT_HWCAP2) & kI8mm) != 0};
}
#elif defined(__APPLE__)
bool has(const char* feature) {
  int value = 0;
  std::size_t size = sizeof value;
  return sysctlbyname(feature, &value, &size, nullptr, 0) == 0 && value != 0;
}

Features features() {
  return {has("hw.optional.arm.FEAT_DotProd"), has("hw.optional.arm.FEAT_I8MM")};
}
#else
Features features() { return {false, false}; }
#endif

// Advanced SIMD is part of the architecture's baseline for applications.
std::vector<Isa> probe() {
  std::vector<Isa> found = {Isa::portable, Isa::neon};
  const Features has = features();
  if (has.dotprod) found.push_back(Isa::neon_dotprod);
  if (has.dotprod && has.i8mm) found.push_back(Isa::neon_i8mm);
  return found;
}
#else
std::vector<Isa> probe() { return {Isa::portable}; }
#endif

}  // namespace

#if defined(__x86_64__)
std::vector<Isa> x86_isas(const X86Facts& facts) {
  const auto& [basic, extended, newer, state, tiles_granted] = facts;
  std::vector<Isa> found = {Isa::portable};
  if (!all(basic.ecx, bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C)) return found;
  if (!all(state, kVectorState) || !all(extended.ebx, bit_AVX2)) return found;
  found.push_back(Isa::avx2);
  if (LICHEN_HAS_AVX_VNNI && all(newer.eax, kAvxVnni)) found.push_back(Isa::avx_vnni);
  if (!all(state, kVector512State) ||
      !all(extended.ebx, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL))
    return found;
  found.push_back(Isa::avx512);
  if (!all(extended.ecx, bit_AVX512VNNI)) return found;
  found.push_back(Isa::avx512_vnni);
  if (LICHEN_HAS_AVX512_BF16 && all(newer.eax, bit_AVX512BF16)) found.push_back(Isa::avx512_bf16);
  if (has_tiles(facts) && tiles_granted) found.push_back(Isa::amx);
  return found;
}
#endif

const std::vector<Isa>& supported_isas() {
  static const std::vector<Isa> found = probe();
  return found;
}

std::string_view isa_name(Isa isa) {
  for (const auto& [known, name] : kNames)
    if (known == isa) return name;
  return "unknown";
}

std::optional<Isa> parse_isa(std::string_view name) {
  for (const auto& [isa, known] : kNames)
    if (known == name) return isa;
  return std::nullopt;
}

}  // namespace lichen
