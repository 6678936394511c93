// Vectors of as many floats as a register holds, for the native operators: 16 with AVX-512, 8 with
// AVX, else 4. Wider ones the compiler would take apart, float by float.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int64_t LANES = 16;
#elif defined(__AVX__)
constexpr int64_t LANES = 8;
#else
constexpr int64_t LANES = 4;
#endif
typedef float Lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t Mask __attribute__((vector_size(LANES * sizeof(float))));  // -1 where, else 0

inline Lanes load(const float* from) {
  Lanes x;
  std::memcpy(&x, from, sizeof x);
  return x;
}

inline void store(float* to, Lanes x) { std::memcpy(to, &x, sizeof x); }

// The first n floats, the other lanes 0; and back.
#ifdef __AVX512F__
inline Lanes load(const float* from, int64_t n) {
  return (Lanes)_mm512_maskz_loadu_ps((1u << n) - 1, from);
}

inline void store(float* to, Lanes x, int64_t n) {
  _mm512_mask_storeu_ps(to, (1u << n) - 1, (__m512)x);
}
#else
inline void copy_some(float* to, const float* from, int64_t n) {  // faster than memcpy of n
  for (int64_t part = LANES; part > 0; part /= 2)
    if (n & part) std::memcpy(to, from, part * sizeof(float)), to += part, from += part;
}

inline Lanes load(const float* from, int64_t n) {
  float x[LANES] = {};
  copy_some(x, from, n);
  return load(x);
}

inline void store(float* to, Lanes x, int64_t n) {
  float from[LANES];
  store(from, x);
  copy_some(to, from, n);
}
#endif

// The same for n of any size: LANES floats, or n where those are fewer.
inline Lanes part(const float* from, int64_t n) {
  return n < LANES ? load(from, n) : load(from);
}

inline void put(float* to, Lanes x, int64_t n) { n < LANES ? store(to, x, n) : store(to, x); }

inline Lanes broadcast(float x) { return Lanes{} + x; }

// The lanes' numbers: 0, 1, 2, ...
inline Mask numbers() {
  Mask n;
  for (int32_t i = 0; i < LANES; i++) n[i] = i;
  return n;
}

inline Lanes select(Mask where, Lanes a, Lanes b) { return where ? a : b; }

// A NaN in b stays: so a step that has gone wrong is seen.
inline Lanes max(Lanes a, Lanes b) { return a > b ? a : b; }

// The lower and the upper half of a vector, added.
template <typename Whole, typename Part>
inline Part folded(Whole x) {
  Part low, high;
  std::memcpy(&low, &x, sizeof low);
  std::memcpy(&high, reinterpret_cast<const char*>(&x) + sizeof low, sizeof high);
  return low + high;
}

// Vectors of a fixed width, whatever a register holds.
typedef float Four __attribute__((vector_size(16)));
typedef float Eight __attribute__((vector_size(32)));

// Any vector from memory and to it.
template <typename Vector>
inline Vector read(const float* from) {
  Vector x;
  std::memcpy(&x, from, sizeof x);
  return x;
}

template <typename Vector>
inline void write(float* to, Vector x) {
  std::memcpy(to, &x, sizeof x);
}

// Four sums of every fourth lane.
inline Four by_fours(Four x) { return x; }
inline Four by_fours(Eight x) { return folded<Eight, Four>(x); }
#ifdef __AVX512F__
inline Four by_fours(Lanes x) { return by_fours(folded<Lanes, Eight>(x)); }
#endif

inline float sum(Lanes x) {  // always in this order
  const Four y = by_fours(x);
  return (y[0] + y[2]) + (y[1] + y[3]);
}

typedef int32_t Places __attribute__((vector_size(16)));

#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Places{__VA_ARGS__})
#endif

// Adds the sums of four vectors to four numbers.
template <typename Vector>
inline void add_sums(float* to, const Vector* x) {
  const Four a = by_fours(x[0]), b = by_fours(x[1]), c = by_fours(x[2]), d = by_fours(x[3]);
  const Four ab = SHUFFLE(a, b, 0, 4, 1, 5) + SHUFFLE(a, b, 2, 6, 3, 7);
  const Four cd = SHUFFLE(c, d, 0, 4, 1, 5) + SHUFFLE(c, d, 2, 6, 3, 7);
  Four sums;
  std::memcpy(&sums, to, sizeof sums);
  sums += SHUFFLE(ab, cd, 0, 1, 4, 5) + SHUFFLE(ab, cd, 2, 3, 6, 7);
  std::memcpy(to, &sums, sizeof sums);
}

// e^x within 2 units in the last place; 0 below -87, infinity above 88.7, NaN of NaN. Polynomial and
// the two parts of ln 2 are those of expf in Cephes (S. Moshier, 1984).
inline Lanes exp(Lanes x) {
  const Lanes low = broadcast(-87.f), high = broadcast(88.8f);
  const Mask zero = x < low;
  Lanes y = zero ? low : x;
  const Mask infinite = y > high;
  y = infinite ? high : y;
  const float shift = 12582912.f;  // 1.5 * 2^23: adding it rounds to a whole number
  const Lanes whole = (y * 1.44269504f + shift) - shift;
  const Lanes r = (y - whole * 0.693359375f) + whole * 2.12194440e-4f;  // ln 2 in two parts
  Lanes p = broadcast(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.f;
  // 2^whole in two factors, since 2^128 is no float.
  const Mask n = __builtin_convertvector(whole, Mask), half = n >> 1;
  const Mask a = (half + 127) << 23, b = (n - half + 127) << 23;
  Lanes scale_a, scale_b;
  std::memcpy(&scale_a, &a, sizeof a);
  std::memcpy(&scale_b, &b, sizeof b);
  p = p * scale_a * scale_b;
  return zero ? Lanes{} : (infinite ? broadcast(INFINITY) : p);
}

inline Lanes sigmoid(Lanes x) { return 1.f / (1.f + exp(-x)); }

// A tensor [B,T,H,width] by its strides in row, token and head; one head [T,width] of it.
struct View {
  const float* at;
  int64_t b, t, h;
  View head(int64_t i, int64_t j) const { return {at + i * b + j * h, 0, t, 0}; }
  const float* row(int64_t j) const { return at + j * t; }
};

// Scratch memory of this thread, aligned to 64 bytes, kept for the next call.
inline float* scratch(size_t floats) {
  struct Kept {
    float* at = nullptr;
    size_t floats = 0;
    ~Kept() { std::free(at); }
  };
  thread_local Kept kept;
  if (kept.floats < floats) {
    std::free(kept.at);
    kept.at = nullptr, kept.floats = 0;
    void* fresh = nullptr;
    if (posix_memalign(&fresh, 64, floats * sizeof(float))) throw std::bad_alloc();
    kept.at = static_cast<float*>(fresh), kept.floats = floats;
  }
  return kept.at;
}

}  // namespace
