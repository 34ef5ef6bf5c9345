// Independent chains of one instruction set's multiply-add, as many as hide its latency.
//
// Include inside an anonymous namespace, after LICHEN_REGISTER, the constraint of a vector register. A
// Chain has Sum, Input, kChains, kOperations (of one add_product), zero(), input() and add_product().

// The compiler must take the value as changed: it can neither drop the work on it nor do it once for all.
template <class T>
inline __attribute__((always_inline)) void keep(T& value) {
  asm volatile("" : "+" LICHEN_REGISTER(value));
}

template <class Chain>
int64_t run_chains(int64_t rounds) {
  typename Chain::Sum sums[Chain::kChains];
  for (auto& sum : sums) sum = Chain::zero();
  typename Chain::Input x = Chain::input(), w = Chain::input();
  keep(w);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 32
    for (int chain = 0; chain < Chain::kChains; ++chain) {
      keep(x);
      typename Chain::Sum sum = Chain::add_product(sums[chain], w, x);
      keep(sum);
      sums[chain] = sum;
    }
  }
  return rounds * Chain::kChains * Chain::kOperations;
}
