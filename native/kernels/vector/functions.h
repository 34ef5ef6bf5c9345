// exp, erf and the activations built on them, in terms of the sixteen lanes of <isa>.h.
//
// Include after exactly one <isa>.h.  Everything is one fixed sequence of IEEE operations on each
// lane, so the instruction sets that have a fused multiply-add give equal bits, and a value never
// depends on its lane or its neighbours.
#pragma once

namespace lichen {
namespace {

// e^x for x of at most 88.8, and 0 below kLowestExponent, where the result nears the smallest normal number;
// `bounded` is x or that.  x = k ln 2 + r with |r| <= ln(2)/2, ln 2 in two parts (Cody and Waite, 1980), and
// a polynomial fitted to e^r for the least greatest relative error (3e-9 unrounded).
constexpr float kLowestExponent = -86.6f;
LICHEN_INLINE F16 exp_within(F16 x, F16 bounded) {
  const F16 magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding rounds to integers
  const F16 shifted = fma(bounded, broadcast(1.44269502f), magic);
  const F16 k = sub(shifted, magic);
  const F16 r = fnma(k, broadcast(-2.12194440e-4f), fnma(k, broadcast(0.693359375f), bounded));
  F16 p = broadcast(0x1.6a4f88p-10f);
  p = fma(p, r, broadcast(0x1.123988p-7f));
  p = fma(p, r, broadcast(0x1.5558aep-5f));
  p = fma(p, r, broadcast(0x1.555492p-3f));
  p = fma(p, r, broadcast(0x1.fffffcp-2f));
  p = fma(p, r, broadcast(1.0f));
  p = fma(p, r, broadcast(1.0f));
  // 2^k in two factors, because 2^128 does not exist but e^88.7 does.
  const F16 power = mul(mul(p, half_power_of_two(shifted)), broadcast(2.0f));
  return where_less(x, broadcast(kLowestExponent), broadcast(0.0f), power);
}

// e^x within 2 ulp; 0 below -86.6, inf above 88.72; NaN stays NaN, since max and min pass a second operand on.
LICHEN_INLINE F16 exp(F16 x) {
  return exp_within(x, min(broadcast(88.8f), max(broadcast(kLowestExponent), x)));
}

// The same of what is not above 0.
LICHEN_INLINE F16 exp_of_negative(F16 x) { return exp_within(x, max(broadcast(kLowestExponent), x)); }

// erf x within 2e-7 (absolute): x P(x^2) below 1, 1 - e^-Q(x) from 1 on; both fitted for the
// least greatest error.
LICHEN_INLINE F16 erf(F16 x) {
  const F16 t = absolute(x);
  const F16 s = mul(t, t);
  F16 p = broadcast(-1.7899652e-05f);
  p = fma(p, s, broadcast(-5.0546014e-04f));
  p = fma(p, s, broadcast(4.847265e-03f));
  p = fma(p, s, broadcast(-2.667145e-02f));
  p = fma(p, s, broadcast(1.12791464e-01f));
  p = fma(p, s, broadcast(-3.7612227e-01f));
  p = mul(t, fma(p, s, broadcast(1.1283791f)));
  const F16 u = min(broadcast(4.0f), t);
  F16 q = broadcast(-1.8883373e-04f);
  q = fma(q, u, broadcast(2.972523e-03f));
  q = fma(q, u, broadcast(-2.194069e-02f));
  q = fma(q, u, broadcast(1.0332777e-01f));
  q = fma(q, u, broadcast(6.378827e-01f));
  q = fma(q, u, broadcast(1.1272516f));
  q = fma(q, u, broadcast(3.0039882e-04f));
  const F16 one = broadcast(1.0f);
  const F16 tail = sub(one, exp(sub(broadcast(0.0f), q)));
  return with_sign_of(where_less(t, one, p, tail), x);
}

// x / (1 + e^-x), Elfwing et al. 2017, arXiv 1702.03118.
LICHEN_INLINE F16 silu(F16 x) {
  return div(x, add(broadcast(1.0f), exp(sub(broadcast(0.0f), x))));
}

// x (1 + erf(x / sqrt 2)) / 2, Hendrycks and Gimpel 2016, arXiv 1606.08415.
LICHEN_INLINE F16 gelu_exact(F16 x) {
  const F16 half = mul(broadcast(0.5f), x);
  return fma(half, erf(mul(x, broadcast(0.70710678f))), half);
}

// The same paper's approximation x (1 + tanh u) / 2 = x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3).
LICHEN_INLINE F16 gelu_tanh(F16 x) {
  const F16 cubic = fma(mul(mul(x, x), x), broadcast(0.044715f), x);
  return div(x, add(broadcast(1.0f), exp(mul(broadcast(-1.59576912f), cubic))));
}

}  // namespace
}  // namespace lichen
