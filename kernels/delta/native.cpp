// Gated delta rule, token by token, forward and backward. Lanes are columns of values: a block is
// LANES of them, whose state is d vectors, and blocks meet only in sums over values. Rows of keys
// are taken ROWS at a time, and padded to that with zeros. One state in CHUNK tokens is kept;
// backward the others of a chunk are run again from it and stay in the first-level cache.
#include "../_lanes.h"

#include <algorithm>

namespace {

constexpr int64_t CHUNK = 8, ROWS = 4;

// One chunk of one head: keys and queries padded to [CHUNK][rows], numbers of each token.
struct Chunk {
  int64_t tokens, rows;
  float *k, *q, *beta, *decay;
};

// One token of one block: S [rows][LANES] -> next (may be S); returns what the key lacks of v.
inline Lanes advance(const Chunk& c, int64_t t, Lanes v, const float* S, float* next) {
  const float* k = c.k + t * c.rows;
  Lanes read[ROWS] = {};
  for (int64_t i = 0; i < c.rows; i += ROWS)
#pragma GCC unroll 4
    for (int64_t j = 0; j < ROWS; j++) read[j] += k[i + j] * load(S + (i + j) * LANES);
  const float decay = c.decay[t];
  const Lanes lack = v - decay * ((read[0] + read[1]) + (read[2] + read[3]));
  const Lanes written = c.beta[t] * lack;
  for (int64_t i = 0; i < c.rows; i++)
    store(next + i * LANES, decay * load(S + i * LANES) + k[i] * written);
  return lack;
}

inline Lanes recall(const float* q, const float* S, int64_t rows) {
  Lanes o[ROWS] = {};
  for (int64_t i = 0; i < rows; i += ROWS)
#pragma GCC unroll 4
    for (int64_t j = 0; j < ROWS; j++) o[j] += q[i + j] * load(S + (i + j) * LANES);
  return (o[0] + o[1]) + (o[2] + o[3]);
}

void fill(
    Chunk& c, const View& q, const View& k, const float* beta, const float* log_decay, int64_t b,
    int64_t t0, int64_t h, int64_t T, int64_t H, int64_t d) {
  for (int64_t t = 0; t < c.tokens; t++) {
    const float *from_q = q.head(b, h).row(t0 + t), *from_k = k.head(b, h).row(t0 + t);
    std::copy(from_q, from_q + d, c.q + t * c.rows);
    std::copy(from_k, from_k + d, c.k + t * c.rows);
    const int64_t at = (b * T + t0 + t) * H + h;
    c.beta[t] = beta[at];
    c.decay[t] = log_decay ? std::exp(log_decay[at]) : 1.f;
  }
}

// [d,e] -> [blocks][rows][LANES] with zeros where there is nothing, and back.
void to_blocks(float* to, const float* from, int64_t d, int64_t e, int64_t rows) {
  for (int64_t c = 0; c < e; c += LANES)
    for (int64_t i = 0; i < rows; i++, to += LANES)
      store(to, from && i < d ? part(from + i * e + c, e - c) : Lanes{});
}

void from_blocks(float* to, const float* from, int64_t d, int64_t e, int64_t rows) {
  for (int64_t c = 0; c < e; c += LANES, from += rows * LANES)
    for (int64_t i = 0; i < d; i++) put(to + i * e + c, load(from + i * LANES), e - c);
}

struct Sizes {
  int64_t rows, block, blocks, chunks, states;
  Sizes(int64_t T, int64_t d, int64_t e)
      : rows((d + ROWS - 1) / ROWS * ROWS),
        block(rows * LANES),
        blocks((e + LANES - 1) / LANES),
        chunks((T + CHUNK - 1) / CHUNK),
        states(rows * ((e + 15) / 16 * 16)) {}
};

}  // namespace

// q, k [B,T,H,d], v [B,T,H,e] by strides, beta, log_decay [B,T,H], S0 [B,H,d,e] (log_decay and S0
// may be null) -> o [B,T,H,e], last [B,H,d,e] and, unless null, the state before every chunk: kept
// [B,H, chunks, d rounded up to 4, e rounded up to 16], blocks inside.
extern "C" void forward(
    const float* q, const float* k, const float* v, const float* beta, const float* log_decay,
    const float* S0, float* o, float* last, float* kept, int64_t B, int64_t T, int64_t H, int64_t d,
    int64_t e, int64_t q_b, int64_t q_t, int64_t q_h, int64_t k_b, int64_t k_t, int64_t k_h,
    int64_t v_b, int64_t v_t, int64_t v_h, float scale) {
  const View queries{q, q_b, q_t, q_h}, keys{k, k_b, k_t, k_h}, values{v, v_b, v_t, v_h};
  const Sizes s(T, d, e);
  float* S = scratch(s.blocks * s.block + CHUNK * (2 * s.rows + 2));
  Chunk c{0, s.rows, S + s.blocks * s.block, nullptr, nullptr, nullptr};
  c.q = c.k + CHUNK * s.rows, c.beta = c.q + CHUNK * s.rows, c.decay = c.beta + CHUNK;
  std::fill(c.k, c.beta, 0.f);
  for (int64_t b = 0; b < B; b++)
    for (int64_t h = 0; h < H; h++) {
      const int64_t head = b * H + h;
      to_blocks(S, S0 ? S0 + head * d * e : nullptr, d, e, s.rows);
      for (int64_t i = 0; i < s.chunks; i++) {
        const int64_t t0 = i * CHUNK;
        c.tokens = std::min(CHUNK, T - t0);
        fill(c, queries, keys, beta, log_decay, b, t0, h, T, H, d);
        if (kept) std::copy(S, S + s.blocks * s.block, kept + (head * s.chunks + i) * s.states);
        for (int64_t n = 0; n < s.blocks; n++) {
          float* state = S + n * s.block;
          for (int64_t t = 0; t < c.tokens; t++) {
            const int64_t at = n * LANES, left = e - at;
            advance(c, t, part(values.head(b, h).row(t0 + t) + at, left), state, state);
            put(o + ((b * T + t0 + t) * H + h) * e + at,
                scale * recall(c.q + t * s.rows, state, s.rows), left);
          }
        }
      }
      from_blocks(last + head * d * e, S, d, e, s.rows);
    }
}

namespace {

// What the tokens of a chunk collect from every block: [CHUNK][rows] and [CHUNK].
struct Gradients {
  float *k, *q, *beta, *log_decay;
};

// One token of one block backward. G [rows][LANES], the gradient of the state after the token,
// becomes that of the state before it, S; `next` is the one after. Returns the gradient of v.
inline Lanes retreat(
    const Chunk& c, int64_t t, Lanes lack, Lanes d_o, const float* S, const float* next, float* G,
    Gradients g) {
  const float *k = c.k + t * c.rows, *q = c.q + t * c.rows, beta = c.beta[t], decay = c.decay[t];
  Lanes sums[ROWS] = {}, row[ROWS];
  for (int64_t i = 0; i < c.rows; i += ROWS) {
#pragma GCC unroll 4
    for (int64_t j = 0; j < ROWS; j++) {
      const Lanes grad = load(G + (i + j) * LANES) + q[i + j] * d_o;
      sums[j] += k[i + j] * grad;
      row[j] = load(next + (i + j) * LANES) * d_o;
      store(G + (i + j) * LANES, grad);
    }
    add_sums(g.q + t * c.rows + i, row);
  }
  const Lanes dv = beta * ((sums[0] + sums[1]) + (sums[2] + sums[3])), written = beta * lack;
  g.beta[t] += sum(lack * ((sums[0] + sums[1]) + (sums[2] + sums[3])));
  const Lanes decayed = decay * dv;
  Lanes slope[ROWS] = {};
  for (int64_t i = 0; i < c.rows; i += ROWS) {
#pragma GCC unroll 4
    for (int64_t j = 0; j < ROWS; j++) {
      const Lanes grad = load(G + (i + j) * LANES), state = load(S + (i + j) * LANES);
      row[j] = grad * written - state * decayed;
      const Lanes before = decay * (grad - k[i + j] * dv);
      slope[j] += state * before;
      store(G + (i + j) * LANES, before);
    }
    add_sums(g.k + t * c.rows + i, row);
  }
  g.log_decay[t] += sum((slope[0] + slope[1]) + (slope[2] + slope[3]));
  return dv;
}

}  // namespace

// The gradients of all inputs, of their shapes and dense. d_o [B,T,H,e] by strides; dlast (that of
// last), log_decay with dlog_decay, and dS0 may be null.
extern "C" void backward(
    const float* q, const float* k, const float* v, const float* beta, const float* log_decay,
    const float* kept, const float* d_o, const float* dlast, float* dq, float* dk, float* dv,
    float* dbeta, float* dlog_decay, float* dS0, int64_t B, int64_t T, int64_t H, int64_t d,
    int64_t e, int64_t q_b, int64_t q_t, int64_t q_h, int64_t k_b, int64_t k_t, int64_t k_h,
    int64_t v_b, int64_t v_t, int64_t v_h, int64_t o_b, int64_t o_t, int64_t o_h, float scale) {
  const View queries{q, q_b, q_t, q_h}, keys{k, k_b, k_t, k_h}, values{v, v_b, v_t, v_h};
  const View outputs{d_o, o_b, o_t, o_h};
  const Sizes s(T, d, e);
  float* G = scratch(s.blocks * s.block + (CHUNK + 1) * s.block + CHUNK * (LANES + 4 * s.rows + 4));
  float* states = G + s.blocks * s.block;
  float* lacks = states + (CHUNK + 1) * s.block;
  Chunk c{0, s.rows, lacks + CHUNK * LANES, nullptr, nullptr, nullptr};
  c.q = c.k + CHUNK * s.rows, c.beta = c.q + CHUNK * s.rows, c.decay = c.beta + CHUNK;
  Gradients g{c.decay + CHUNK, nullptr, nullptr, nullptr};
  g.q = g.k + CHUNK * s.rows, g.beta = g.q + CHUNK * s.rows, g.log_decay = g.beta + CHUNK;
  std::fill(c.k, c.beta, 0.f);
  for (int64_t b = 0; b < B; b++)
    for (int64_t h = 0; h < H; h++) {
      const int64_t head = b * H + h;
      to_blocks(G, dlast ? dlast + head * d * e : nullptr, d, e, s.rows);
      for (int64_t i = s.chunks - 1; i >= 0; i--) {
        const int64_t t0 = i * CHUNK;
        c.tokens = std::min(CHUNK, T - t0);
        fill(c, queries, keys, beta, log_decay, b, t0, h, T, H, d);
        std::fill(g.k, g.log_decay + CHUNK, 0.f);
        for (int64_t n = 0; n < s.blocks; n++) {
          const int64_t at = n * LANES, left = e - at;
          const float* from = kept + (head * s.chunks + i) * s.states + n * s.block;
          std::copy(from, from + s.block, states);
          for (int64_t t = 0; t < c.tokens; t++) {
            float* S = states + t * s.block;
            const Lanes value = part(values.head(b, h).row(t0 + t) + at, left);
            store(lacks + t * LANES, advance(c, t, value, S, S + s.block));
          }
          for (int64_t t = c.tokens - 1; t >= 0; t--) {
            const float* S = states + t * s.block;
            const Lanes grad = scale * part(outputs.head(b, h).row(t0 + t) + at, left);
            put(dv + ((b * T + t0 + t) * H + h) * e + at,
                retreat(c, t, load(lacks + t * LANES), grad, S, S + s.block, G + n * s.block, g),
                left);
          }
        }
        for (int64_t t = 0; t < c.tokens; t++) {
          const int64_t to = (b * T + t0 + t) * H + h;
          std::copy(g.q + t * s.rows, g.q + t * s.rows + d, dq + to * d);
          std::copy(g.k + t * s.rows, g.k + t * s.rows + d, dk + to * d);
          dbeta[to] = g.beta[t];
          if (dlog_decay) dlog_decay[to] = g.log_decay[t];
        }
      }
      if (dS0) from_blocks(dS0 + head * d * e, G, d, e, s.rows);
    }
}
