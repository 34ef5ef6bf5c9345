// The one place that says which kernel runs where.
#include "kernels/dispatch.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "lichen/attention.h"
#include "lichen/elementwise.h"
#include "lichen/norm.h"

namespace lichen {

extern const NormKernels norm_portable, norm_avx2, norm_avx512;
extern const ElementwiseKernels elementwise_portable, elementwise_avx2, elementwise_avx512;
void attention_portable(const AttentionTask&, float*);
void attention_avx2(const AttentionTask&, float*);
void attention_avx512(const AttentionTask&, float*);

namespace {

struct Kernels {
  LinearKernels linear;
  const NormKernels& norm;
  const ElementwiseKernels& elementwise;
  AttentionKernel attention;
};

// Any processor; the oracle for the others.
const Kernels kPortable = {
    {linear_f32_portable, linear_f16_portable, linear_bf16_portable, linear_i8_portable,
     linear_i4_portable, quantize_portable},
    norm_portable, elementwise_portable, attention_portable};

#if defined(__x86_64__)
// AVX2, FMA, F16C: Intel since Haswell (2013), AMD since Zen (2017); also the E-cores of hybrid laptops.
const Kernels kAvx2 = {
    {linear_f32_avx2, linear_f16_avx2, linear_bf16_avx2, linear_i8_avx2, linear_i4_avx2,
     quantize_avx2},
    norm_avx2, elementwise_avx2, attention_avx2};

#if LICHEN_HAS_AVX_VNNI
LinearKernels with_avx_vnni(LinearKernels kernels) {
  kernels.i8 = linear_i8_avx_vnni;
  kernels.i4 = linear_i4_avx_vnni;
  return kernels;
}

// AVX2 and VNNI in 256 bits: Intel's laptops since Alder Lake (2021), which have no AVX512; AMD Zen 5. No
// processor has it and AVX512 without AVX512-VNNI, so it is never chosen above that set.
const Kernels kAvxVnni = {with_avx_vnni(kAvx2.linear), norm_avx2, elementwise_avx2, attention_avx2};
#else
const Kernels& kAvxVnni = kAvx2;  // the compiler does not know it: no machine is said to have it
#endif

// AVX512 F, BW, DQ, VL: Intel Skylake-X and Skylake-SP (2017).
const Kernels kAvx512 = {
    {linear_f32_avx512, linear_f16_avx512, linear_bf16_avx512, linear_i8_avx512, linear_i4_avx512,
     quantize_avx512},
    norm_avx512, elementwise_avx512, attention_avx512};

// With VNNI: Intel Cascade Lake (2019), Ice Lake, Sapphire Rapids; AMD Zen 4 (2022) and Zen 5.
const Kernels kAvx512Vnni = {
    {linear_f32_avx512, linear_f16_avx512, linear_bf16_avx512, linear_i8_avx512_vnni,
     linear_i4_avx512_vnni, quantize_avx512},
    norm_avx512, elementwise_avx512, attention_avx512};

#if LICHEN_HAS_AMX
LinearKernels with_amx(LinearKernels kernels) {
  kernels.bf16 = linear_bf16_amx;
  kernels.i8 = linear_i8_amx;
  kernels.i4 = linear_i4_amx;
  kernels.split = split_amx;
  return kernels;
}

// With AMX for int8 and bf16: Intel Sapphire Rapids (2023) and later Xeons.
const Kernels kAmx = {with_amx(kAvx512Vnni.linear), norm_avx512, elementwise_avx512, attention_avx512};
#else
const Kernels& kAmx = kAvx512Vnni;
#endif
#endif

const Kernels& kernels(Isa isa) {
  const std::vector<Isa>& supported = supported_isas();
  if (std::find(supported.begin(), supported.end(), isa) == supported.end())
    throw std::invalid_argument("this machine cannot run the instruction set " +
                                std::string(isa_name(isa)));
#if defined(__x86_64__)
  switch (isa) {
    case Isa::portable: return kPortable;
    case Isa::avx2: return kAvx2;
    case Isa::avx_vnni: return kAvxVnni;
    case Isa::avx512: return kAvx512;
    case Isa::avx512_vnni: return kAvx512Vnni;
    case Isa::amx: return kAmx;
  }
#endif
  return kPortable;
}

}  // namespace

const LinearKernels& linear_kernels(Isa isa) { return kernels(isa).linear; }
const NormKernels& norm_kernels(Isa isa) { return kernels(isa).norm; }
const ElementwiseKernels& elementwise_kernels(Isa isa) { return kernels(isa).elementwise; }
AttentionKernel attention_kernel(Isa isa) { return kernels(isa).attention; }

PeakLoops peak_loops(Isa isa) {
  kernels(isa);  // refuses what cannot run here
#if defined(__x86_64__)
  switch (isa) {
    case Isa::portable: break;
    case Isa::avx2: return {peak_i8_avx2, peak_bf16_avx2};
    case Isa::avx512: return {peak_i8_avx512, peak_bf16_avx512};
    case Isa::avx512_vnni: return {peak_i8_avx512_vnni, peak_bf16_avx512};
  }
#endif
  return {peak_i8_portable, peak_bf16_portable};
}

}  // namespace lichen
