// What is said of a machine from what its processor and its system say of themselves.
#include "lichen/cpu.h"

#include <algorithm>

#include "checks.h"

namespace {

using namespace lichen;
using Isas = std::vector<Isa>;

void test_names(Checks& checks) {
  for (Isa isa : supported_isas()) checks.expect(parse_isa(isa_name(isa)) == isa, "a name stands for its set");
  checks.expect(!parse_isa("pentium") && !parse_isa(""), "other names stand for nothing");
  checks.expect(supported_isas().front() == Isa::portable, "every machine has portable");
  checks.expect(std::is_sorted(supported_isas().begin(), supported_isas().end()), "the best set comes last");
}

#if defined(__x86_64__)
// Bits by their places in Intel's SDM (volume 2A, CPUID; volume 1, 13.3), not by the names that cpu.cpp uses.
constexpr std::uint32_t bit(int place) { return std::uint32_t{1} << place; }
constexpr std::uint32_t kOsxsave = bit(27), kAvx = bit(28), kFma = bit(12), kF16c = bit(29);  // leaf 1, ecx
constexpr std::uint32_t kAvx2 = bit(5);                                                       // leaf 7, ebx
constexpr std::uint32_t kAvx512[] = {bit(16), bit(17), bit(30), bit(31)};                     // F, DQ, BW, VL
constexpr std::uint32_t kAvx512Vnni = bit(11);                                                // leaf 7, ecx
constexpr std::uint32_t kAmx[] = {bit(22), bit(24), bit(25)};                                 // leaf 7, edx
constexpr std::uint32_t kAvxVnni = bit(4), kAvx512Bf16 = bit(5);                              // leaf 7.1, eax
constexpr std::uint64_t kYmm = 0x4, kOpmask = 0x20, kUpperZmm = 0x40, kMoreZmm = 0x80;        // XCR0
constexpr std::uint64_t kTileConfig = 0x20000, kTileData = 0x40000;

// A processor with all that lichen knows of, and a system that grants it.
X86Facts everything() {
  X86Facts facts;
  facts.basic.ecx = kOsxsave | kAvx | kFma | kF16c;
  facts.extended = {1, kAvx2, kAvx512Vnni, 0};
  for (std::uint32_t part : kAvx512) facts.extended.ebx |= part;
  for (std::uint32_t part : kAmx) facts.extended.edx |= part;
  facts.newer.eax = kAvxVnni | kAvx512Bf16;
  facts.saved_state = 0x3 | kYmm | kOpmask | kUpperZmm | kMoreZmm | kTileConfig | kTileData;
  facts.tiles_granted = true;
  return facts;
}

// `sets` that the compiler of this build knew.
Isas known(Isas sets) {
  const auto unknown = [](Isa isa) {
    return (isa == Isa::avx_vnni && !LICHEN_HAS_AVX_VNNI) || (isa == Isa::avx512_bf16 && !LICHEN_HAS_AVX512_BF16) ||
           (isa == Isa::amx && !LICHEN_HAS_AMX);
  };
  sets.erase(std::remove_if(sets.begin(), sets.end(), unknown), sets.end());
  return sets;
}

void test_facts(Checks& checks) {
  const Isas none = {Isa::portable}, in_256 = {Isa::portable, Isa::avx2, Isa::avx_vnni},
             without_tiles = {Isa::portable, Isa::avx2, Isa::avx_vnni, Isa::avx512, Isa::avx512_vnni, Isa::avx512_bf16};
  Isas all = without_tiles;
  all.push_back(Isa::amx);
  const auto expect = [&](const X86Facts& facts, const Isas& sets, const std::string& what) {
    checks.expect(x86_isas(facts) == known(sets), what);
  };
  // Each line takes something from `everything`; what is left is the third argument.
  const auto without = [&](std::uint32_t CpuidLeaf::*place, CpuidLeaf X86Facts::*leaf, std::uint32_t bits,
                           const Isas& left, const std::string& what) {
    X86Facts facts = everything();
    facts.*leaf.*place &= ~bits;
    expect(facts, left, "without " + what);
  };
  const auto unsaved = [&](std::uint64_t bits, const Isas& left, const std::string& what) {
    X86Facts facts = everything();
    facts.saved_state &= ~bits;
    expect(facts, left, "where the system does not save " + what);
  };
  expect({}, none, "a processor that says nothing");
  expect(everything(), all, "a processor with everything");
  without(&CpuidLeaf::ecx, &X86Facts::basic, kOsxsave, none, "OSXSAVE");
  without(&CpuidLeaf::ecx, &X86Facts::basic, kAvx, none, "AVX");
  without(&CpuidLeaf::ecx, &X86Facts::basic, kFma, none, "FMA");
  without(&CpuidLeaf::ecx, &X86Facts::basic, kF16c, none, "F16C");
  without(&CpuidLeaf::ebx, &X86Facts::extended, kAvx2, none, "AVX2");
  for (std::uint32_t part : kAvx512) without(&CpuidLeaf::ebx, &X86Facts::extended, part, in_256, "a part of AVX512");
  without(&CpuidLeaf::ecx, &X86Facts::extended, kAvx512Vnni, {Isa::portable, Isa::avx2, Isa::avx_vnni, Isa::avx512},
          "AVX512-VNNI");
  for (std::uint32_t part : kAmx) without(&CpuidLeaf::edx, &X86Facts::extended, part, without_tiles, "a part of AMX");
  without(&CpuidLeaf::eax, &X86Facts::newer, kAvxVnni,
          {Isa::portable, Isa::avx2, Isa::avx512, Isa::avx512_vnni, Isa::avx512_bf16, Isa::amx}, "AVX-VNNI");
  without(&CpuidLeaf::eax, &X86Facts::newer, kAvx512Bf16,
          {Isa::portable, Isa::avx2, Isa::avx_vnni, Isa::avx512, Isa::avx512_vnni, Isa::amx}, "AVX512-BF16");
  unsaved(~std::uint64_t{0}, none, "anything");
  unsaved(kYmm, none, "ymm");
  for (std::uint64_t part : {kOpmask, kUpperZmm, kMoreZmm}) unsaved(part, in_256, "a part of zmm");
  for (std::uint64_t part : {kTileConfig, kTileData}) unsaved(part, without_tiles, "a part of the tiles");
  X86Facts refused = everything();
  refused.tiles_granted = false;
  expect(refused, without_tiles, "where the system refuses the tiles");
}
#endif

}  // namespace

int main() {
  Checks checks;
  test_names(checks);
#if defined(__x86_64__)
  test_facts(checks);
#endif
  return checks.finish();
}
