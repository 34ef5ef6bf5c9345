// The one place that says which kernel runs where.
#include "kernels/dispatch.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace lichen {
namespace {

// Any processor; the oracle for the others.
constexpr LinearKernels kPortable = {linear_f32_portable, linear_f16_portable,
                                     linear_bf16_portable, linear_i8_portable, quantize_portable};

#if defined(__x86_64__)
// AVX2, FMA, F16C: Intel since Haswell (2013), AMD since Zen (2017); also the E-cores of hybrid laptops.
constexpr LinearKernels kAvx2 = {linear_f32_avx2, linear_f16_avx2, linear_bf16_avx2,
                                 linear_i8_avx2, quantize_avx2};

// AVX512 F, BW, DQ, VL: Intel Skylake-X and Skylake-SP (2017).
constexpr LinearKernels kAvx512 = {linear_f32_avx512, linear_f16_avx512, linear_bf16_avx512,
                                   linear_i8_avx512, quantize_avx512};

// With VNNI: Intel Cascade Lake (2019), Ice Lake, Sapphire Rapids; AMD Zen 4 (2022) and Zen 5.
constexpr LinearKernels kAvx512Vnni = {linear_f32_avx512, linear_f16_avx512, linear_bf16_avx512,
                                       linear_i8_avx512_vnni, quantize_avx512};
#endif

}  // namespace

const LinearKernels& linear_kernels(Isa isa) {
  const std::vector<Isa>& supported = supported_isas();
  if (std::find(supported.begin(), supported.end(), isa) == supported.end())
    throw std::invalid_argument("this machine cannot run the instruction set " +
                                std::string(isa_name(isa)));
#if defined(__x86_64__)
  switch (isa) {
    case Isa::portable: return kPortable;
    case Isa::avx2: return kAvx2;
    case Isa::avx512: return kAvx512;
    case Isa::avx512_vnni: return kAvx512Vnni;
  }
#endif
  return kPortable;
}

}  // namespace lichen
