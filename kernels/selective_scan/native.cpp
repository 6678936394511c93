// Selective scan, forward and backward. Lanes are channels: a block is LANES of them, in whose
// arrays [N][LANES] every number of state has one vector, and a loop holds GROUP such vectors in
// registers. One state in CHUNK tokens is kept; backward the others are run again from it, chunk
// by chunk from the last, with their decays, which then stay in the first-level cache. The
// gradients of B and C are sums over channels: first of vectors over the blocks, then of lanes.
#include "../_lanes.h"

#include <algorithm>

namespace {

constexpr int64_t CHUNK = 8;
constexpr int64_t GROUP = 8;
constexpr float LOG2_E = 1.44269504f, LN_2 = 0.693147181f;

// 2^x within 2 units in the last place, 0 where that underflows, infinity where it overflows. It is
// the dearest step here, so A is multiplied by log2 e beforehand instead of x at every token.
inline Lanes exp2(Lanes x) {
#ifdef __AVX512F__
  const __m512 whole = _mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT);
  const Lanes r = x - (Lanes)whole;
#else
  x = max(broadcast(-127.f), x);
  x = x > 128.f ? broadcast(128.f) : x;
  const float shift = 12582912.f;  // 1.5 * 2^23: adding it rounds to a whole number
  const Lanes shifted = x + shift;
  const Lanes r = x - (shifted - shift);
#endif
  // The polynomial of least relative error, 9e-8, with 2^0 = 1.
  Lanes p = broadcast(0x1.5bba14p-10f);
  p = p * r + 0x1.3cea88p-7f;
  p = p * r + 0x1.c6b752p-5f;
  p = p * r + 0x1.ebf9bcp-3f;
  p = p * r + 0x1.62e42ap-1f;
  p = p * r + 1.f;
#ifdef __AVX512F__
  return (Lanes)_mm512_scalef_ps((__m512)p, whole);
#else
  // At -127 and 128 p is 1, and the sum of exponents exactly that of 0 and of infinity.
  return (Lanes)((Mask)p + ((Mask)shifted << 23));
#endif
}

// One chunk of one block: what the loops over tokens read and write, each [CHUNK][LANES].
struct Chunk {
  int64_t tokens;
  const float *B, *C;  // [tokens][stride], of the row
  int64_t B_stride, C_stride;
  float *delta, *x, *y;     // x = delta u
  float *dy, *dx, *dlog;    // dlog: gradient of delta from the decays, over ln 2
};

// G numbers of state through the tokens of a chunk: h [G][LANES] in place, y added to.
template <int G>
inline void advance(const Chunk& k, int64_t n, const float* A, float* h) {
  Lanes s[G], a[G];
#pragma GCC unroll 8
  for (int i = 0; i < G; i++) s[i] = load(h + i * LANES), a[i] = load(A + i * LANES);
  for (int64_t t = 0; t < k.tokens; t++) {
    const float *b = k.B + t * k.B_stride + n, *c = k.C + t * k.C_stride + n;
    const Lanes delta = load(k.delta + t * LANES), x = load(k.x + t * LANES);
    Lanes y = load(k.y + t * LANES);
#pragma GCC unroll 8
    for (int i = 0; i < G; i++) {
      s[i] = exp2(delta * a[i]) * s[i] + x * b[i];
      y += s[i] * c[i];
    }
    store(k.y + t * LANES, y);
  }
#pragma GCC unroll 8
  for (int i = 0; i < G; i++) store(h + i * LANES, s[i]);
}

// The states [CHUNK + 1][G][LANES] and decays [CHUNK][G][LANES] of a chunk after `kept`.
template <int G>
inline void recompute(
    const Chunk& k, int64_t n, const float* A, const float* kept, float* h, float* decay) {
  Lanes s[G], a[G];
#pragma GCC unroll 8
  for (int i = 0; i < G; i++) {
    s[i] = load(kept + i * LANES), a[i] = load(A + i * LANES);
    store(h + i * LANES, s[i]);
  }
  for (int64_t t = 0; t < k.tokens; t++) {
    const float* b = k.B + t * k.B_stride + n;
    const Lanes delta = load(k.delta + t * LANES), x = load(k.x + t * LANES);
#pragma GCC unroll 8
    for (int i = 0; i < G; i++) {
      const Lanes e = exp2(delta * a[i]);
      s[i] = e * s[i] + x * b[i];
      store(decay + (t * G + i) * LANES, e);
      store(h + ((t + 1) * G + i) * LANES, s[i]);
    }
  }
}

// The gradients of G numbers of state, from a chunk's last token to its first: g [G][LANES], that
// of the state, in place; dA [G][LANES], dB and dC [CHUNK][G][LANES], dx and dlog added to.
template <int G>
inline void retreat(
    const Chunk& k, int64_t n, const float* A, const float* h, const float* decay, float* g,
    float* dA, float* dB, float* dC) {
  Lanes s[G], da[G];
#pragma GCC unroll 8
  for (int i = 0; i < G; i++) s[i] = load(g + i * LANES), da[i] = Lanes{};
  for (int64_t t = k.tokens - 1; t >= 0; t--) {
    const float *b = k.B + t * k.B_stride + n, *c = k.C + t * k.C_stride + n;
    const Lanes delta = load(k.delta + t * LANES), x = load(k.x + t * LANES);
    const Lanes dy = load(k.dy + t * LANES);
    Lanes dx = load(k.dx + t * LANES), dlog = load(k.dlog + t * LANES);
#pragma GCC unroll 8
    for (int i = 0; i < G; i++) {
      const int64_t at = (t * G + i) * LANES, next = at + G * LANES;
      s[i] += dy * c[i];
      store(dC + at, load(dC + at) + dy * load(h + next));
      store(dB + at, load(dB + at) + x * s[i]);
      dx += s[i] * b[i];
      s[i] *= load(decay + at);
      const Lanes m = s[i] * load(h + at);
      dlog += m * load(A + i * LANES);
      da[i] += m * delta;
    }
    store(k.dx + t * LANES, dx);
    store(k.dlog + t * LANES, dlog);
  }
#pragma GCC unroll 8
  for (int i = 0; i < G; i++) {
    store(g + i * LANES, s[i]);
    store(dA + i * LANES, load(dA + i * LANES) + da[i]);
  }
}

// [D,N] -> [blocks][N][LANES], times a factor, with zeros in the lanes beyond D; and back.
void to_blocks(float* to, const float* from, int64_t D, int64_t N, float factor) {
  for (int64_t d = 0; d < D; d += LANES)
    for (int64_t n = 0; n < N; n++, to += LANES)
      for (int64_t l = 0; l < LANES; l++)
        to[l] = from && d + l < D ? from[(d + l) * N + n] * factor : 0.f;
}

void from_blocks(float* to, const float* from, int64_t D, int64_t N) {
  for (int64_t d = 0; d < D; d += LANES)
    for (int64_t n = 0; n < N; n++, from += LANES)
      for (int64_t l = 0; l < LANES && d + l < D; l++) to[(d + l) * N + n] = from[l];
}

struct Scratch {
  float* next;
  float* take(int64_t floats) {
    float* taken = next;
    next += (floats + 15) / 16 * 16;
    return taken;
  }
};

}  // namespace

// u, delta [B,T,D], A [D,N], Bm, Cm [B,T,N], skip [D], h0 [B,D,N] (either may be null) -> y
// [B,T,D], last [B,D,N] and, unless null, the state before every chunk: kept [B, chunks, N,
// D rounded up to 16], blocks inside. Strides are from one token to the next, of all rows.
extern "C" void forward(
    const float* u, const float* delta, const float* A, const float* Bm, const float* Cm,
    const float* skip, const float* h0, float* y, float* last, float* kept, int64_t B, int64_t T,
    int64_t D, int64_t N, int64_t u_stride, int64_t delta_stride, int64_t B_stride,
    int64_t C_stride) {
  const int64_t blocks = (D + LANES - 1) / LANES, block = N * LANES, square = CHUNK * LANES;
  const int64_t chunks = (T + CHUNK - 1) / CHUNK, states = N * ((D + 15) / 16 * 16);
  Scratch s{scratch(2 * (blocks * block + 16) + 3 * square)};
  float *a = s.take(blocks * block), *h = s.take(blocks * block);
  Chunk k{};
  k.delta = s.take(square), k.x = s.take(square), k.y = s.take(square);
  k.B_stride = B_stride, k.C_stride = C_stride;
  to_blocks(a, A, D, N, LOG2_E);
  for (int64_t row = 0; row < B; row++) {
    to_blocks(h, h0 ? h0 + row * D * N : nullptr, D, N, 1.f);
    for (int64_t c = 0; c < blocks; c++) {
      const int64_t d = c * LANES, width = std::min(LANES, D - d);
      const Lanes through = skip ? part(skip + d, width) : Lanes{};
      float *state = h + c * block, *decay = a + c * block;
      for (int64_t i = 0; i < chunks; i++) {
        const int64_t first = row * T + i * CHUNK;
        k.tokens = std::min(CHUNK, T - i * CHUNK);
        k.B = Bm + first * B_stride, k.C = Cm + first * C_stride;
        if (kept)
          std::copy(state, state + block, kept + (row * chunks + i) * states + c * block);
        for (int64_t t = 0; t < k.tokens; t++) {
          const Lanes input = part(u + (first + t) * u_stride + d, width);
          const Lanes size = part(delta + (first + t) * delta_stride + d, width);
          store(k.delta + t * LANES, size);
          store(k.x + t * LANES, size * input);
          store(k.y + t * LANES, through * input);
        }
        int64_t n = 0;
        for (; n + GROUP <= N; n += GROUP)
          advance<GROUP>(k, n, decay + n * LANES, state + n * LANES);
        for (; n < N; n++) advance<1>(k, n, decay + n * LANES, state + n * LANES);
        for (int64_t t = 0; t < k.tokens; t++)
          put(y + (first + t) * D + d, load(k.y + t * LANES), width);
      }
    }
    from_blocks(last + row * D * N, h, D, N);
  }
}

namespace {

// What the backward pass does with G numbers of state of one chunk and block.
template <int G>
inline void both(
    const Chunk& k, int64_t n, const float* A, const float* kept, float* g, float* dA, float* h,
    float* decay, float* dB, float* dC) {
  const int64_t at = n * LANES;
  recompute<G>(k, n, A + at, kept + at, h, decay);
  retreat<G>(k, n, A + at, h, decay, g + at, dA + at, dB + at * CHUNK, dC + at * CHUNK);
}

// Sums of lanes: groups [CHUNK][G][LANES] of one chunk -> [tokens,N].
inline void collect(float* to, const float* from, int64_t tokens, int64_t N) {
  for (int64_t n = 0; n < N;) {
    const int64_t G = n + GROUP <= N ? GROUP : 1;
    for (int64_t t = 0; t < tokens; t++)
      for (int64_t i = 0; i < G; i++)
        to[t * N + n + i] = sum(load(from + (n * CHUNK + t * G + i) * LANES));
    n += G;
  }
}

}  // namespace

// The gradients of all inputs, of their shapes and dense; skip, dlast (that of last), dskip and dh0
// may be null.
extern "C" void backward(
    const float* u, const float* delta, const float* A, const float* Bm, const float* Cm,
    const float* skip, const float* kept, const float* dy, const float* dlast, float* du,
    float* ddelta, float* dA, float* dB, float* dC, float* dskip, float* dh0, int64_t B, int64_t T,
    int64_t D, int64_t N, int64_t u_stride, int64_t delta_stride, int64_t B_stride,
    int64_t C_stride, int64_t dy_stride) {
  const int64_t blocks = (D + LANES - 1) / LANES, block = N * LANES, square = CHUNK * LANES;
  const int64_t chunks = (T + CHUNK - 1) / CHUNK, states = N * ((D + 15) / 16 * 16);
  Scratch s{scratch(3 * (blocks * block + 16) + blocks * LANES + (5 + 2 * N + 2 * GROUP) * square +
                    GROUP * LANES + 512)};
  float *a = s.take(blocks * block), *g = s.take(blocks * block), *da = s.take(blocks * block);
  float* through = s.take(blocks * LANES);
  Chunk k{};
  k.B_stride = B_stride, k.C_stride = C_stride;
  k.delta = s.take(square), k.x = s.take(square), k.dy = s.take(square);
  k.dx = s.take(square), k.dlog = s.take(square);
  // Arrays that are a multiple of 4096 bytes apart would share their places in the cache.
  float *h = s.take((GROUP + 1) * square), *decay = s.take(GROUP * square + 80);
  float *db = s.take(N * square + 80), *dc = s.take(N * square);
  to_blocks(a, A, D, N, LOG2_E);
  std::fill(da, da + blocks * block, 0.f);
  std::fill(through, through + blocks * LANES, 0.f);
  for (int64_t row = 0; row < B; row++) {
    to_blocks(g, dlast ? dlast + row * D * N : nullptr, D, N, 1.f);
    for (int64_t i = chunks - 1; i >= 0; i--) {
      const int64_t first = row * T + i * CHUNK;
      k.tokens = std::min(CHUNK, T - i * CHUNK);
      k.B = Bm + first * B_stride, k.C = Cm + first * C_stride;
      std::fill(db, db + N * square, 0.f);
      std::fill(dc, dc + N * square, 0.f);
      for (int64_t c = 0; c < blocks; c++) {
        const int64_t d = c * LANES, width = std::min(LANES, D - d), at = c * block;
        for (int64_t t = 0; t < k.tokens; t++) {
          const Lanes size = part(delta + (first + t) * delta_stride + d, width);
          store(k.delta + t * LANES, size);
          store(k.x + t * LANES, size * part(u + (first + t) * u_stride + d, width));
          store(k.dy + t * LANES, part(dy + (first + t) * dy_stride + d, width));
          store(k.dx + t * LANES, Lanes{});
          store(k.dlog + t * LANES, Lanes{});
        }
        const float* before = kept + (row * chunks + i) * states + at;
        int64_t n = 0;
        for (; n + GROUP <= N; n += GROUP)
          both<GROUP>(k, n, a + at, before, g + at, da + at, h, decay, db, dc);
        for (; n < N; n++) both<1>(k, n, a + at, before, g + at, da + at, h, decay, db, dc);
        const Lanes skipped = skip ? part(skip + d, width) : Lanes{};
        Lanes sums = load(through + d);
        for (int64_t t = 0; t < k.tokens; t++) {
          const Lanes input = part(u + (first + t) * u_stride + d, width);
          const Lanes dx = load(k.dx + t * LANES), out = load(k.dy + t * LANES);
          put(du + (first + t) * D + d, dx * load(k.delta + t * LANES) + skipped * out, width);
          put(ddelta + (first + t) * D + d, load(k.dlog + t * LANES) * LN_2 + dx * input, width);
          sums += out * input;
        }
        store(through + d, sums);
      }
      collect(dB + first * N, db, k.tokens, N);
      collect(dC + first * N, dc, k.tokens, N);
    }
    if (dh0) from_blocks(dh0 + row * D * N, g, D, N);
  }
  from_blocks(dA, da, D, N);
  if (dskip) std::copy(through, through + D, dskip);
}
