// Gated linear attention, token by token. A row of the state depends on no other row, a column on
// no other column, so a few of them pass all tokens in registers. Forward, lanes are columns of
// values and registers hold GROUP rows: o is summed over rows. Backward, lanes are channels of keys
// (eight where that is all there are) and registers hold GROUP columns: of the four gradients three
// are summed over columns, and only that of v over lanes. Forward keeps nothing: backward the
// states run again from the first token, one in CHUNK is kept, and chunk by chunk from the last the
// others are run once more.
#include "../_lanes.h"

#include <algorithm>

namespace {

constexpr int64_t CHUNK = 64, GROUP = LANES == 16 ? 8 : 4;

int64_t rounded(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// log_decay: null, [B,T,H] (width 1) or [B,T,H,d] -> the decays of one head [T][D], 1 beyond d.
void decays(float* to, const float* log_decay, int64_t width, int64_t b, int64_t h, int64_t T,
            int64_t H, int64_t d, int64_t D) {
  for (int64_t t = 0; t < T; t++, to += D) {
    const float* from = log_decay + ((b * T + t) * H + h) * width;
    for (int64_t i = 0; i < d; i += LANES) {
      const Lanes g = !width ? Lanes{} : width == 1 ? broadcast(*from) : part(from + i, d - i);
      put(to + i, exp(g), D - i);
    }
  }
}

// G rows from row i, LANES columns from c: S [d,e] in place, o [T,e] (by rows of o_t) added to.
template <int G>
void advance(const View& q, const View& k, const View& v, const float* decay, int64_t D, float* S,
             float* o, int64_t o_t, int64_t i, int64_t c, int64_t T, int64_t e, float scale) {
  const int64_t left = e - c;
  Lanes s[G];
#pragma GCC unroll 8
  for (int j = 0; j < G; j++) s[j] = part(S + (i + j) * e + c, left);
  for (int64_t t = 0; t < T; t++) {
    const float *a = decay + t * D + i, *key = k.row(t) + i, *query = q.row(t) + i;
    const Lanes value = part(v.row(t) + c, left);
    Lanes sum = {};
#pragma GCC unroll 8
    for (int j = 0; j < G; j++) {
      s[j] = s[j] * a[j] + value * key[j];
      sum += s[j] * query[j];
    }
    float* to = o + t * o_t + c;
    put(to, i ? part(to, left) + scale * sum : scale * sum, left);
  }
#pragma GCC unroll 8
  for (int j = 0; j < G; j++) put(S + (i + j) * e + c, s[j], left);
}

}  // namespace

// q, k [B,T,H,d], v [B,T,H,e] by strides, log_decay of `width` numbers a head or null with 0,
// S0 [B,H,d,e] or null -> o [B,T,H,e], last [B,H,d,e].
extern "C" void forward(
    const float* q, const float* k, const float* v, const float* log_decay, const float* S0,
    float* o, float* last, int64_t B, int64_t T, int64_t H, int64_t d, int64_t e, int64_t width,
    int64_t q_b, int64_t q_t, int64_t q_h, int64_t k_b, int64_t k_t, int64_t k_h, int64_t v_b,
    int64_t v_t, int64_t v_h, float scale) {
  const View queries{q, q_b, q_t, q_h}, keys{k, k_b, k_t, k_h}, values{v, v_b, v_t, v_h};
  const int64_t D = rounded(d, LANES);
  float* decay = scratch(T * D);
  for (int64_t b = 0; b < B; b++)
    for (int64_t h = 0; h < H; h++, last += d * e) {
      decays(decay, log_decay, width, b, h, T, H, d, D);
      if (S0)
        std::copy(S0 + (b * H + h) * d * e, S0 + (b * H + h + 1) * d * e, last);
      else
        std::fill(last, last + d * e, 0.f);
      const View x = queries.head(b, h), y = keys.head(b, h), z = values.head(b, h);
      float* out = o + (b * T * H + h) * e;
      for (int64_t c = 0; c < e; c += LANES) {
        int64_t i = 0;
        for (; i + GROUP <= d; i += GROUP)
          advance<GROUP>(x, y, z, decay, D, last, out, H * e, i, c, T, e, scale);
        for (; i < d; i++) advance<1>(x, y, z, decay, D, last, out, H * e, i, c, T, e, scale);
      }
    }
}

namespace {

// One head: sizes, inputs, and what all of its parts share, each padded with zeros.
struct Head {
  int64_t T, d, e, D, E;  // D: d rounded up to W, the lanes of a vector; E: e to GROUP
  View q, k;
  float* decay;           // [T][D]
  float *v, *d_o, *dv;    // [T][E]; d_o holds scale
  float *dq, *dk, *dlog;  // [T][W], of W channels
  float *kept, *states;   // [chunks][GROUP][W], [CHUNK + 1][GROUP][W]
};

template <typename Vector>
constexpr int64_t WIDTH = sizeof(Vector) / sizeof(float);

// The first n numbers, or as many as the vector has, and zeros.
template <typename Vector>
inline Vector some(const float* from, int64_t n) {
  const Lanes x = part(from, n);
  Vector y;
  std::memcpy(&y, &x, sizeof y);
  return y;
}

// Column c of rows from row i of S [d,e], zeros where there is nothing; and back.
template <typename Vector>
Vector column(const Head& n, const float* S, int64_t i, int64_t c) {
  Vector x = {};
  if (S && c < n.e)
    for (int64_t j = 0; j < std::min(WIDTH<Vector>, n.d - i); j++) x[j] = S[(i + j) * n.e + c];
  return x;
}

template <typename Vector>
void set_column(const Head& n, float* S, Vector x, int64_t i, int64_t c) {
  if (S && c < n.e)
    for (int64_t j = 0; j < std::min(WIDTH<Vector>, n.d - i); j++) S[(i + j) * n.e + c] = x[j];
}

// A vector of channels from i and GROUP columns from c, through all tokens and back.
template <typename Vector>
void retreat(const Head& n, int64_t i, int64_t c, const float* S0, const float* dlast, float* dS0) {
  constexpr int64_t W = WIDTH<Vector>, block = GROUP * W;
  const int64_t left = n.d - i, chunks = (n.T + CHUNK - 1) / CHUNK;
  Vector s[GROUP], g[GROUP];
  const auto step = [&](int64_t t) {
    const Vector decay = read<Vector>(n.decay + t * n.D + i);
    const Vector key = some<Vector>(n.k.row(t) + i, left);
    const float* v = n.v + t * n.E + c;
#pragma GCC unroll 8
    for (int j = 0; j < GROUP; j++) s[j] = s[j] * decay + key * v[j];
  };
  const auto keep = [&](float* to) {
#pragma GCC unroll 8
    for (int j = 0; j < GROUP; j++) write(to + j * W, s[j]);
  };
  for (int j = 0; j < GROUP; j++) {
    s[j] = column<Vector>(n, S0, i, c + j);
    g[j] = column<Vector>(n, dlast, i, c + j);
  }
  keep(n.kept);
  for (int64_t m = 1; m < chunks; m++) {
    for (int64_t t = (m - 1) * CHUNK; t < m * CHUNK; t++) step(t);
    keep(n.kept + m * block);
  }
  for (int64_t m = chunks - 1; m >= 0; m--) {
    const int64_t first = m * CHUNK, end = std::min(n.T, first + CHUNK);
    for (int j = 0; j < GROUP; j++) s[j] = read<Vector>(n.kept + m * block + j * W);
    keep(n.states);
    for (int64_t t = first; t < end; t++) {
      step(t);
      keep(n.states + (t - first + 1) * block);
    }
    for (int64_t t = end - 1; t >= first; t--) {
      const float *before = n.states + (t - first) * block, *after = before + block;
      const float *v = n.v + t * n.E + c, *d_o = n.d_o + t * n.E + c;
      const Vector decay = read<Vector>(n.decay + t * n.D + i);
      const Vector key = some<Vector>(n.k.row(t) + i, left);
      const Vector query = some<Vector>(n.q.row(t) + i, left);
      float *to_q = n.dq + t * W, *to_k = n.dk + t * W, *to_log = n.dlog + t * W;
      Vector dq = read<Vector>(to_q), dk = read<Vector>(to_k), dlog = read<Vector>(to_log);
      Vector row[GROUP];
#pragma GCC unroll 8
      for (int j = 0; j < GROUP; j++) {
        g[j] += query * d_o[j];
        dq += read<Vector>(after + j * W) * d_o[j];
        dk += g[j] * v[j];
        row[j] = g[j] * key;
        g[j] *= decay;
        dlog += g[j] * read<Vector>(before + j * W);
      }
      for (int j = 0; j < GROUP; j += 4) add_sums(n.dv + t * n.E + c + j, row + j);
      write(to_q, dq), write(to_k, dk), write(to_log, dlog);
    }
  }
  for (int j = 0; j < GROUP; j++) set_column(n, dS0, g[j], i, c + j);
}

// x [T,e] by its strides to [T][E], times a factor, zeros beyond e.
void padded(float* to, const View& x, int64_t T, int64_t e, int64_t E, float factor) {
  for (int64_t t = 0; t < T; t++, to += E) {
    for (int64_t c = 0; c < e; c += LANES) put(to + c, factor * part(x.row(t) + c, e - c), E - c);
  }
}

}  // namespace

// The gradients of all inputs, of their shapes and dense. d_o [B,T,H,e] by strides; dlast (that of
// last), dlog_decay and dS0 may be null.
extern "C" void backward(
    const float* q, const float* k, const float* v, const float* log_decay, const float* S0,
    const float* d_o, const float* dlast, float* dq, float* dk, float* dv, float* dlog_decay,
    float* dS0, int64_t B, int64_t T, int64_t H, int64_t d, int64_t e, int64_t width, int64_t q_b,
    int64_t q_t, int64_t q_h, int64_t k_b, int64_t k_t, int64_t k_h, int64_t v_b, int64_t v_t,
    int64_t v_h, int64_t o_b, int64_t o_t, int64_t o_h, float scale) {
  const View queries{q, q_b, q_t, q_h}, keys{k, k_b, k_t, k_h}, values{v, v_b, v_t, v_h};
  const View outputs{d_o, o_b, o_t, o_h};
  const bool narrow = LANES > 8 && d <= 8;
  const int64_t W = narrow ? 8 : LANES, block = GROUP * W, chunks = (T + CHUNK - 1) / CHUNK;
  Head n{T, d, e, rounded(d, W), rounded(e, GROUP)};
  n.dq = scratch(T * (n.D + 3 * (W + n.E)) + (chunks + CHUNK + 1) * block);
  n.dk = n.dq + T * W, n.dlog = n.dk + T * W, n.decay = n.dlog + T * W;
  n.v = n.decay + T * n.D, n.d_o = n.v + T * n.E, n.dv = n.d_o + T * n.E, n.kept = n.dv + T * n.E;
  n.states = n.kept + chunks * block;
  const auto of_head = [&](auto* x) { return x ? x + d * e : x; };
  for (int64_t b = 0; b < B; b++)
    for (int64_t h = 0; h < H; h++) {
      decays(n.decay, log_decay, width, b, h, T, H, d, n.D);
      n.q = queries.head(b, h), n.k = keys.head(b, h);
      padded(n.v, values.head(b, h), T, e, n.E, 1.f);
      padded(n.d_o, outputs.head(b, h), T, e, n.E, scale);
      std::fill(n.dv, n.dv + T * n.E, 0.f);
      for (int64_t i = 0; i < d; i += W) {
        std::fill(n.dq, n.decay, 0.f);
        for (int64_t c = 0; c < e; c += GROUP)
          (narrow ? retreat<Eight> : retreat<Lanes>)(n, i, c, S0, dlast, dS0);
        for (int64_t t = 0; t < T; t++) {
          const int64_t at = (b * T + t) * H + h;
          put(dq + at * d + i, part(n.dq + t * W, W), d - i);
          put(dk + at * d + i, part(n.dk + t * W, W), d - i);
          const Lanes slope = part(n.dlog + t * W, W);
          if (dlog_decay && width == 1 && d > 1)
            dlog_decay[at] = sum(slope) + (i ? dlog_decay[at] : 0.f);
          else if (dlog_decay)
            put(dlog_decay + at * d + i, slope, d - i);
        }
      }
      for (int64_t t = 0; t < T; t++)
        std::copy(n.dv + t * n.E, n.dv + t * n.E + e, dv + ((b * T + t) * H + h) * e);
      S0 = of_head(S0), dlast = of_head(dlast), dS0 = of_head(dS0);
    }
}
