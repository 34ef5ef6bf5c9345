// Which copy of the norms, the elementwise functions and attention each instruction set runs. They
// are written in float32 lanes, so every AVX-512 set shares one; kernels/dispatch.cpp names the
// processors.
#include <algorithm>
#include <stdexcept>
#include <string>

#include "lichen/attention.h"
#include "lichen/cpu.h"
#include "lichen/elementwise.h"
#include "lichen/norm.h"

namespace lichen {

extern const NormKernels norm_portable, norm_avx2, norm_avx512;
extern const ElementwiseKernels elementwise_portable, elementwise_avx2, elementwise_avx512;
void attention_portable(const AttentionTask&, float*);
void attention_avx2(const AttentionTask&, float*);
void attention_avx512(const AttentionTask&, float*);

namespace {

struct VectorKernels {
  const NormKernels& norm;
  const ElementwiseKernels& elementwise;
  AttentionKernel attention;
};

const VectorKernels kPortable = {norm_portable, elementwise_portable, attention_portable};
#if defined(__x86_64__)
const VectorKernels kAvx2 = {norm_avx2, elementwise_avx2, attention_avx2};
const VectorKernels kAvx512 = {norm_avx512, elementwise_avx512, attention_avx512};
#endif

const VectorKernels& kernels(Isa isa) {
  const std::vector<Isa>& supported = supported_isas();
  if (std::find(supported.begin(), supported.end(), isa) == supported.end())
    throw std::invalid_argument("this machine cannot run the instruction set " +
                                std::string(isa_name(isa)));
#if defined(__x86_64__)
  switch (isa) {
    case Isa::portable: return kPortable;
    case Isa::avx2: return kAvx2;
    case Isa::avx512:
    case Isa::avx512_vnni: return kAvx512;
  }
#endif
  return kPortable;
}

}  // namespace

const NormKernels& norm_kernels(Isa isa) { return kernels(isa).norm; }
const ElementwiseKernels& elementwise_kernels(Isa isa) { return kernels(isa).elementwise; }
AttentionKernel attention_kernel(Isa isa) { return kernels(isa).attention; }

int64_t attention_scratch(int64_t rows, int64_t head_dim) {
  const int64_t dim = (head_dim + 15) / 16 * 16;
  return rows * (2 * dim + kAttentionBlock + 16 + 1);  // queries, sums, weights, totals, maximum
}

}  // namespace lichen
