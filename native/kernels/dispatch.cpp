// The one place that says which kernel runs where.
#include "kernels/dispatch.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "kernels/matrix/kernel.h"
#include "kernels/moment/kernel.h"
#include "kernels/rounding/kernel.h"
#include "lichen/attention.h"
#include "lichen/elementwise.h"
#include "lichen/norm.h"

namespace lichen {

extern const NormKernels norm_portable, norm_avx2, norm_avx512, norm_neon;
extern const ElementwiseKernels elementwise_portable, elementwise_avx2, elementwise_avx512,
    elementwise_neon;
extern const RoundingKernels rounding_portable, rounding_avx2, rounding_avx512, rounding_neon;
extern const AttentionKernels attention_portable, attention_avx2, attention_avx512, attention_amx, attention_neon;

namespace {

struct Kernels {
  LinearKernels linear;
  const NormKernels& norm;
  const ElementwiseKernels& elementwise;
  const AttentionKernels& attention;
  const RoundingKernels& rounding;
  const MatrixKernel& matrix;
  MomentKernel moment;
  PeakLoops peak;  // of what a set has none of its own, those of the set below
};

// Any processor; the oracle for the others.
const Kernels kPortable = {
    {linear_f32_portable, linear_f16_portable, linear_bf16_portable, linear_i8_portable,
     linear_i4_portable, quantize_portable},
    norm_portable, elementwise_portable, attention_portable,
    rounding_portable, matrix_portable, moment_portable, {peak_i8_portable, peak_bf16_portable}};

#if defined(__x86_64__)
LinearKernels with_words(LinearKernels kernels) {
  kernels.i8_words = true;
  return kernels;
}

LinearKernels with_unsigned_codes(LinearKernels kernels) {
  kernels.i8_unsigned = true;
  return kernels;
}

// AVX2, FMA, F16C: Intel since Haswell (2013), AMD since Zen (2017); also the E-cores of hybrid laptops.
const Kernels kAvx2 = {
    with_words({linear_f32_avx2, linear_f16_avx2, linear_bf16_avx2, linear_i8_avx2, linear_i4_avx2,
                         quantize_avx2, linear_t4_avx2, linear_b8_avx2, linear_b6_avx2, linear_b4_avx2, widen_words_avx2}),
    norm_avx2, elementwise_avx2, attention_avx2,
    rounding_avx2, matrix_avx2, moment_avx2, {peak_i8_avx2, peak_bf16_avx2}};

#if LICHEN_HAS_AVX_VNNI
LinearKernels with_avx_vnni(LinearKernels kernels) {
  kernels.i8 = linear_i8_avx_vnni;
  kernels.i4 = linear_i4_avx_vnni;
  kernels.t4 = linear_t4_avx_vnni;
  kernels.b8 = linear_b8_avx_vnni;
  kernels.b6 = linear_b6_avx_vnni;
  kernels.b4 = linear_b4_avx_vnni;
  kernels.widen = widen_digits_avx2;
  kernels.i8_words = false;
  kernels.i8_unsigned = true;
  return kernels;
}

// AVX2 and VNNI in 256 bits: Intel's laptops since Alder Lake (2021), which have no AVX512; AMD Zen 5. No
// processor has it and AVX512 without AVX512-VNNI, so it is never chosen above that set.
const Kernels kAvxVnni = {with_avx_vnni(kAvx2.linear), norm_avx2, elementwise_avx2, attention_avx2,
    rounding_avx2, matrix_avx2, moment_avx_vnni, {peak_i8_avx_vnni, peak_bf16_avx2}};
#else
const Kernels& kAvxVnni = kAvx2;  // the compiler does not know it: no machine is said to have it
#endif

// AVX512 F, BW, DQ, VL: Intel Skylake-X and Skylake-SP (2017).
const Kernels kAvx512 = {
    with_unsigned_codes({linear_f32_avx512, linear_f16_avx512, linear_bf16_avx512, linear_i8_avx512,
                         linear_i4_avx512, quantize_avx512, linear_t4_avx512, linear_b8_avx512, linear_b6_avx512,
                         linear_b4_avx512, widen_words_avx512}),
    norm_avx512, elementwise_avx512, attention_avx512,
    rounding_avx512, matrix_avx512, moment_avx512, {peak_i8_avx512, peak_bf16_avx512}};

// With VNNI: Intel Cascade Lake (2019), Ice Lake, Sapphire Rapids; AMD Zen 4 (2022) and Zen 5.
const Kernels kAvx512Vnni = {
    with_unsigned_codes({linear_f32_avx512, linear_f16_avx512, linear_bf16_avx512, linear_i8_avx512_vnni,
                         linear_i4_avx512_vnni, quantize_avx512, linear_t4_avx512_vnni, linear_b8_avx512_vnni, linear_b6_avx512_vnni,
                         linear_b4_avx512_vnni, widen_digits_avx512}),
    norm_avx512, elementwise_avx512, attention_avx512,
    rounding_avx512, matrix_avx512, moment_avx512_vnni, {peak_i8_avx512_vnni, peak_bf16_avx512}};

#if LICHEN_HAS_AVX512_BF16
LinearKernels with_bf16(LinearKernels kernels) {
  kernels.bf16 = linear_bf16_avx512_bf16;
  kernels.bf16_depth = 2;
  return kernels;
}

// With BF16: Intel Cooper Lake (2020), Sapphire Rapids; AMD Zen 4 and Zen 5.
const Kernels kAvx512Bf16 = {with_bf16(kAvx512Vnni.linear), norm_avx512, elementwise_avx512, attention_avx512,
    rounding_avx512, matrix_avx512, moment_avx512_vnni, {peak_i8_avx512_vnni, peak_bf16_avx512_bf16}};
#else
const Kernels& kAvx512Bf16 = kAvx512Vnni;
#endif

#if LICHEN_HAS_AMX
LinearKernels with_amx(LinearKernels kernels) {
  kernels.bf16 = linear_bf16_amx;
  kernels.i8 = linear_i8_amx;
  kernels.i4 = linear_i4_amx;
  kernels.t4 = linear_t4_amx;
  kernels.bf16_depth = 2;
  kernels.halve = halve_amx;
  kernels.quantize_tiles = quantize_amx;
  return kernels;
}

// With AMX for int8 and bf16: Intel Sapphire Rapids (2023) and later Xeons.
const Kernels kAmx = {with_amx(kAvx512Vnni.linear), norm_avx512, elementwise_avx512, attention_amx,
    rounding_avx512, matrix_avx512, moment_avx512_vnni, {peak_i8_amx, peak_bf16_amx}};
#else
const Kernels& kAmx = kAvx512Vnni;
#endif
#elif defined(__aarch64__)
// What a set names no kernel for is as in the set before it. The compiler knows these instructions in
// the portable code, too, so that one quantizes at full speed.
LinearKernels neon_linear() {
  LinearKernels kernels = kPortable.linear;
  kernels.f32 = linear_f32_neon;
  kernels.f16 = linear_f16_neon;
  kernels.bf16 = linear_bf16_neon;
  kernels.i8 = linear_i8_neon;
  kernels.i4 = linear_i4_neon;
  kernels.t4 = linear_t4_neon;
  return kernels;
}

LinearKernels neon_dotprod_linear() {
  LinearKernels kernels = neon_linear();
  kernels.i8 = linear_i8_neon_dotprod;
  kernels.i4 = linear_i4_neon_dotprod;
  kernels.t4 = linear_t4_neon_dotprod;
  return kernels;
}

LinearKernels neon_i8mm_linear() {
  LinearKernels kernels = neon_dotprod_linear();
  kernels.i8 = linear_i8_neon_i8mm;
  kernels.i8_depth = 8;
  kernels.i4 = linear_i4_neon_i8mm;
  return kernels;
}

// Armv8.0, every 64-bit Arm processor: Cortex-A53 and A72 (Raspberry Pi 3 and 4), Graviton1.
const Kernels kNeon = {neon_linear(), norm_neon, elementwise_neon, attention_neon,
    rounding_neon, matrix_neon, moment_neon, {peak_i8_neon, peak_bf16_neon}};

// With SDOT (Armv8.2): Apple M1 (2020), Cortex-A76 (Raspberry Pi 5), Neoverse N1 (Graviton2, Ampere Altra).
const Kernels kNeonDotprod = {neon_dotprod_linear(), norm_neon, elementwise_neon, attention_neon,
    rounding_neon, matrix_neon, moment_neon_dotprod, {peak_i8_neon_dotprod, peak_bf16_neon}};

// With SMMLA (Armv8.6): Apple M2 (2022), Neoverse V1 and V2 (Graviton3 and 4), AmpereOne, Snapdragon X.
const Kernels kNeonI8mm = {neon_i8mm_linear(), norm_neon, elementwise_neon, attention_neon,
    rounding_neon, matrix_neon, moment_neon_dotprod, {peak_i8_neon_i8mm, peak_bf16_neon}};
#endif

const Kernels& kernels(Isa isa) {
  const std::vector<Isa>& supported = supported_isas();
  if (std::find(supported.begin(), supported.end(), isa) == supported.end())
    throw std::invalid_argument("this machine cannot run the instruction set " +
                                std::string(isa_name(isa)));
  switch (isa) {
#if defined(__x86_64__)
    case Isa::avx2: return kAvx2;
    case Isa::avx_vnni: return kAvxVnni;
    case Isa::avx512: return kAvx512;
    case Isa::avx512_vnni: return kAvx512Vnni;
    case Isa::avx512_bf16: return kAvx512Bf16;
    case Isa::amx: return kAmx;
#elif defined(__aarch64__)
    case Isa::neon: return kNeon;
    case Isa::neon_dotprod: return kNeonDotprod;
    case Isa::neon_i8mm: return kNeonI8mm;
#endif
    default: return kPortable;
  }
}

}  // namespace

const LinearKernels& linear_kernels(Isa isa) { return kernels(isa).linear; }
const NormKernels& norm_kernels(Isa isa) { return kernels(isa).norm; }
const ElementwiseKernels& elementwise_kernels(Isa isa) { return kernels(isa).elementwise; }
const AttentionKernels& attention_kernels(Isa isa) { return kernels(isa).attention; }
const RoundingKernels& rounding_kernels(Isa isa) { return kernels(isa).rounding; }

const MatrixKernel& matrix_kernel(Isa isa) { return kernels(isa).matrix; }
MomentKernel moment_kernel(Isa isa) { return kernels(isa).moment; }
PeakLoops peak_loops(Isa isa) { return kernels(isa).peak; }

}  // namespace lichen
