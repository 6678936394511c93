// Attention on a CPU, forward and backward, one head of one row after the other.
//
// A tile is LANES queries and the keys that they see. For scores a lane is a query, and the sums of
// EIGHT keys are in registers; so the tile's queries (and dy) are transposed. For sums over keys (y,
// dq) and over queries (dk, dv) a lane is a channel, and the sums of up to EIGHT rows are in
// registers. Nothing is summed across lanes but the gradient of log f.
//
// Keys and values of a head are first copied together; tokens and channels are filled up to multiples
// of EIGHT with zeros. Forward keeps the largest score of a query and 1 / the sum of its weights;
// backward computes the weights again. Logits are in units of log 2. Biases are relative to the first
// query of a tile, so that far tokens do not blur near ones.
//
// Queries may be those of some tokens only: then q, y and the gate hold these alone, row after row.
#include "../_lanes.h"

#include <algorithm>

namespace {

constexpr int64_t EIGHT = 8;
constexpr int64_t ROWS = std::min(LANES, EIGHT);  // of queries, summed at a time
constexpr double LOG2E = 1.4426950408889634;

// The heads of a tensor [B,T,heads,width] whose last dimension is dense.
template <typename Float>
struct Heads {
  Float* at;
  int64_t row, token, head;
  Float* of(int64_t b, int64_t h, int64_t t = 0) const {
    return at + b * row + t * token + h * head;
  }
};

struct Inputs {
  Heads<const float> q, k, v;
  const float* slopes;       // [H] or null
  const int64_t* window;     // [H] or null
  const float* log_forget;   // [B,T,H] or null
  const float* gate;         // [B,T,H,gate_width] or null
  const int64_t* queries;    // [N], rising: token t of row b is b T + t. N = -1: all of them
  int64_t N, B, T, H, G, d, e, gate_width;
  float scale;

  // Of tensors that are dense: y and dy, gate and dgate.
  template <typename Float>
  Heads<Float> heads(Float* at, int64_t width) const {
    return {at, T * H * width, H * width, width};
  }
  int64_t group(int64_t h) const { return h * G / H; }
  bool opens_group(int64_t h) const { return h == 0 || group(h - 1) != group(h); }
  bool closes_group(int64_t h) const { return h == H - 1 || group(h + 1) != group(h); }
  int64_t kept(int64_t b, int64_t h) const { return (b * H + h) * ((T + 15) / 16 * 32); }
};

inline int64_t filled(int64_t n) { return (n + EIGHT - 1) / EIGHT * EIGHT; }

// n rows of `width` floats, `stride` apart -> dense rows of filled(width), and zeros up to `room` rows.
inline void gather(float* to, const float* from, int64_t stride, int64_t n, int64_t room,
                   int64_t width) {
  const int64_t full = width / EIGHT * EIGHT, wide = filled(width);
  for (int64_t t = 0; t < n; t++, to += wide, from += stride) {
    for (int64_t c = 0; c < full; c += EIGHT) write(to + c, read<Eight>(from + c));
    for (int64_t c = full; c < wide; c++) to[c] = c < width ? from[c] : 0.f;
  }
  std::memset(to, 0, (room - n) * wide * sizeof(float));
}

// n dense rows of filled(width), times `scale` -> rows of `width` floats, `stride` apart.
inline void scatter(float* to, int64_t stride, const float* from, int64_t n, int64_t width,
                    float scale) {
  const int64_t full = width / EIGHT * EIGHT, wide = filled(width);
  for (int64_t t = 0; t < n; t++, from += wide, to += stride) {
    for (int64_t c = 0; c < full; c += EIGHT) write(to + c, read<Eight>(from + c) * scale);
    for (int64_t c = full; c < width; c++) to[c] = from[c] * scale;
  }
}

// Four of the floats a[0] .. a[3], b[0] .. b[3], by number.
#ifdef __clang__
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef int32_t Numbers __attribute__((vector_size(4 * sizeof(int32_t))));
#define PICK(a, b, ...) __builtin_shuffle(a, b, Numbers{__VA_ARGS__})
#endif

// [LANES,width] times `scale` -> [width,LANES], in squares of 4 x 4.
inline void transpose(float* to, const float* from, int64_t width, float scale) {
  for (int64_t l = 0; l < LANES; l += 4)
    for (int64_t c = 0; c < width; c += 4) {
      const float* at = from + l * width + c;
      const Four r0 = read<Four>(at) * scale, r1 = read<Four>(at + width) * scale;
      const Four r2 = read<Four>(at + 2 * width) * scale, r3 = read<Four>(at + 3 * width) * scale;
      const Four a = PICK(r0, r1, 0, 4, 1, 5), b = PICK(r0, r1, 2, 6, 3, 7);
      const Four x = PICK(r2, r3, 0, 4, 1, 5), y = PICK(r2, r3, 2, 6, 3, 7);
      float* square = to + c * LANES + l;
      write(square, PICK(a, x, 0, 1, 4, 5));
      write(square + LANES, PICK(a, x, 2, 3, 6, 7));
      write(square + 2 * LANES, PICK(b, y, 0, 1, 4, 5));
      write(square + 3 * LANES, PICK(b, y, 2, 3, 6, 7));
    }
}

// S[j] = row + column[j] + sum_f queries[f] keys[j][f] for n keys, a multiple of EIGHT.
inline void scores(float* S, const float* queries, const float* keys, int64_t width, int64_t n,
                   Lanes row, const float* column) {
  for (int64_t j = 0; j < n; j += EIGHT, keys += EIGHT * width, S += EIGHT * LANES) {
    Lanes s[EIGHT];
    for (int64_t r = 0; r < EIGHT; r++) s[r] = column ? row + column[j + r] : row;
    for (int64_t f = 0; f < width; f++) {
      const Lanes x = load(queries + f * LANES);
      for (int64_t r = 0; r < EIGHT; r++) s[r] += x * keys[r * width + f];
    }
    for (int64_t r = 0; r < EIGHT; r++) store(S + r * LANES, s[r]);
  }
}

// to[r] (+)= sum_m a[r,m] x[m] for R rows of one vector; a[r,m] = a[r * by_row + m * by_term].
template <typename V, int64_t R, bool ADD>
inline void product(float* to, const float* a, int64_t by_row, int64_t by_term, const float* x,
                    int64_t width, int64_t terms) {
  V total[R];
  for (int64_t r = 0; r < R; r++) total[r] = ADD ? read<V>(to + r * width) : V{};
  for (int64_t m = 0; m < terms; m++) {
    const V y = read<V>(x + m * width);
    for (int64_t r = 0; r < R; r++) total[r] += y * a[r * by_row + m * by_term];
  }
  for (int64_t r = 0; r < R; r++) write(to + r * width, total[r]);
}

// The same for `rows` rows, a multiple of R, of `width` channels.
template <int64_t R, bool ADD>
inline void products(float* to, int64_t rows, const float* a, int64_t by_row, int64_t by_term,
                     const float* x, int64_t width, int64_t terms) {
  for (int64_t r = 0; r < rows; r += R, to += R * width, a += R * by_row) {
    int64_t c = 0;
    if (LANES > EIGHT)
      for (; c + LANES <= width; c += LANES)
        product<Lanes, R, ADD>(to + c, a, by_row, by_term, x + c, width, terms);
    for (; c < width; c += EIGHT)
      product<Eight, R, ADD>(to + c, a, by_row, by_term, x + c, width, terms);
  }
}

// 2^x within 2 units in the last place for x <= 0; 0 below -126.5, 1 at 0, NaN of NaN.
inline Lanes power(Lanes x) {
  const float shift = 12582912.f;  // 1.5 * 2^23: adding it rounds to a whole number
  const Lanes y = max(broadcast(-127.f), x), shifted = y + shift, r = y - (shifted - shift);
  Lanes p = broadcast(1.5353362e-4f);
  p = p * r + 1.3398875e-3f;
  p = p * r + 9.6184369e-3f;
  p = p * r + 5.5503324e-2f;
  p = p * r + 2.4022648e-1f;
  p = p * r + 6.9314718e-1f;
  p = p * r + 1.f;
  Mask n;
  std::memcpy(&n, &shifted, sizeof n);
  n = (n << 23) + (127 << 23);
  Lanes whole;
  std::memcpy(&whole, &n, sizeof n);
  return p * whole;
}

inline Lanes lanes_from(int64_t first) {
  return __builtin_convertvector(numbers() + int32_t(first), Lanes);
}

// One call's scratch memory.
struct Room {
  int64_t tokens, d, e;                     // filled
  float *keys, *values, *dkeys, *dvalues;   // [tokens,d or e], of one head
  float *S, *dP, *column;                   // [tokens,LANES], [tokens]: scores, biases
  float *q, *q_lanes, *dy, *dy_lanes, *out; // of one tile; [width,LANES] where named lanes
  float *share, *rest;                      // sigmoid(gate), 1 - it: [LANES] or [LANES,e]
  double *sums, *dsums;                     // [tokens], of log f

  explicit Room(const Inputs& in)
      : tokens((in.T + LANES - 1) / LANES * LANES + EIGHT), d(filled(in.d)), e(filled(in.e)) {
    const int64_t tile = LANES * std::max(d, e);
    at = scratch(2 * tokens * (d + e) + 2 * tokens * LANES + 5 * (tokens + LANES) + 7 * tile);
    keys = take(tokens * d), values = take(tokens * e);
    dkeys = take(tokens * d), dvalues = take(tokens * e);
    S = take(tokens * LANES), dP = take(tokens * LANES);
    q = take(tile), q_lanes = take(tile), dy = take(tile), dy_lanes = take(tile), out = take(tile);
    share = take(tile), rest = take(tile);
    sums = reinterpret_cast<double*>(take(2 * tokens));
    dsums = reinterpret_cast<double*>(take(2 * tokens));
    column = take(tokens);
  }

 private:
  float* at;
  float* take(int64_t floats) {
    float* own = at;
    at += (floats + LANES - 1) / LANES * LANES;
    return own;
  }
};

// A head of a row, and the tile of it that is at work.
struct Head {
  const Inputs& in;
  const Room& room;
  int64_t b, h, window;
  float slope;
  int64_t row, start = 0, queries;  // where the queries of row b are in q and y, and their number
  int64_t first = 0, n = 0, low = 0, count = 0;  // first query, queries; first key, keys
  int64_t origin = 0;                            // the token of the first query
  Lanes ahead{};                                 // tokens from there to each query

  Head(const Inputs& in, const Room& room, int64_t b, int64_t h)
      : in(in), room(room), b(b), h(h), window(in.window ? in.window[h] : 0),
        slope(in.slopes ? in.slopes[h] * float(LOG2E) : 0.f), row(b), queries(in.T) {
    if (in.N >= 0) {
      const int64_t* end = in.queries + in.N;
      const int64_t* own = std::lower_bound(in.queries, end, b * in.T);
      row = 0, start = own - in.queries;
      queries = std::lower_bound(own, end, (b + 1) * in.T) - own;
    }
    if (in.opens_group(h)) {
      const int64_t g = in.group(h);
      gather(room.keys, in.k.of(b, g), in.k.token, in.T, room.tokens, in.d);
      gather(room.values, in.v.of(b, g), in.v.token, in.T, room.tokens, in.e);
    }
    double total = 0;
    if (in.log_forget)
      for (int64_t t = 0; t < in.T; t++)
        room.sums[t] = total += LOG2E * *in.heads(in.log_forget, 1).of(b, h, t);
  }

  // Fill S with the scores of the tile at query `at`, -inf where a query does not see a key.
  void enter(int64_t at) {
    first = at, n = std::min(LANES, queries - at), origin = token(0);
    ahead = lanes_from(0);
    if (in.N >= 0)
      for (int64_t l = 0; l < LANES; l++) ahead[l] = l < n ? float(token(l) - origin) : 0.f;
    low = window > 0 ? std::max<int64_t>(origin - window + 1, 0) : 0;
    count = filled(token(n - 1) + 1 - low);
    gather_tile(room.q, in.q, in.d);
    transpose(room.q_lanes, room.q, room.d, in.scale * float(LOG2E));
    const bool biased = in.slopes || in.log_forget;
    const Lanes row = biased ? biases() : Lanes{};
    scores(room.S, room.q_lanes, keys(), room.d, count, row, biased ? room.column : nullptr);
    mask();
  }

  // The token of the tile's query l.
  int64_t token(int64_t l) const {
    return in.N >= 0 ? in.queries[start + first + l] - b * in.T : first + l;
  }

  // Of the tile's first key.
  const float* keys() const { return room.keys + low * room.d; }
  const float* values() const { return room.values + low * room.e; }

  // The tile's rows of a tensor, and zeros after the last query; and back.
  void gather_tile(float* to, const Heads<const float>& from, int64_t width) const {
    gather(to, from.of(row, h, start + first), from.token, n, LANES, width);
  }
  void scatter_tile(const Heads<float>& to, const float* from, int64_t width, float scale) const {
    scatter(to.of(row, h, start + first), to.token, from, n, width, scale);
  }

  // Fill `share` and `rest`.
  void open_gate() const {
    const Heads<const float> gate = in.heads(in.gate, in.gate_width);
    if (in.gate_width > 1) {
      gather_tile(room.share, gate, in.e);
    } else {
      for (int64_t l = 0; l < LANES; l++)
        room.share[l] = l < n ? *gate.of(row, h, start + first + l) : 0.f;
    }
    for (int64_t i = 0; i < LANES * (in.gate_width > 1 ? room.e : 1); i += LANES) {
      const Lanes x = load(room.share + i);
      store(room.share + i, sigmoid(x)), store(room.rest + i, sigmoid(-x));
    }
  }

  // Rows of the tile times those of `gates`, or times `gates` where there is one for a head.
  void multiply(float* rows, const float* gates) const {
    for (int64_t l = 0; l < n; l++)
      for (int64_t i = l * room.e; i < (l + 1) * room.e; i += EIGHT)
        write(rows + i, in.gate_width > 1 ? read<Eight>(rows + i) * read<Eight>(gates + i)
                                          : read<Eight>(rows + i) * gates[l]);
  }

 private:
  // The biases of the tile's queries; those of its keys go into `column`.
  Lanes biases() const {
    Lanes queries = ahead * -slope;
    for (int64_t j = 0; j < count; j++) room.column[j] = slope * float(low + j - origin);
    if (in.log_forget) {
      const double* sums = room.sums;
      for (int64_t l = 0; l < n; l++) queries[l] += float(sums[token(l)] - sums[origin]);
      for (int64_t j = 0; j < count; j++)
        room.column[j] += float(sums[origin] - sums[std::min(low + j, in.T - 1)]);
    }
    return queries;
  }

  // Lanes after the last query see nothing.
  void mask() const {
    const Lanes lane = lanes_from(0), end = broadcast(float(n));
    const Lanes reach = broadcast(window > 0 ? float(window) : INFINITY);
    // A whole tile without a window sees all keys up to its first query.
    for (int64_t j = window > 0 || n < LANES ? 0 : origin + 1; j < count; j++) {
      const Lanes offset = ahead + float(origin - low - j);
      const Mask hidden = (offset < 0.f) | (offset >= reach) | (lane >= end);
      float* s = room.S + j * LANES;
      store(s, select(hidden, broadcast(-INFINITY), load(s)));
    }
  }
};

void forward(const Inputs& in, float* y, float* kept) {
  const Room room(in);
  for (int64_t b = 0; b < in.B; b++)
    for (int64_t h = 0; h < in.H; h++) {
      Head head(in, room, b, h);
      for (int64_t first = 0; first < head.queries; first += LANES) {
        head.enter(first);
        Lanes largest = broadcast(-1e30f), total{};
        for (int64_t j = 0; j < head.count * LANES; j += LANES)
          largest = max(largest, load(room.S + j));
        for (int64_t j = 0; j < head.count * LANES; j += LANES) {
          const Lanes p = power(load(room.S + j) - largest);
          store(room.S + j, p);
          total += p;
        }
        const Lanes part = select(total == 0.f, total, 1.f / total);  // 0 after the last query
        store(kept + in.kept(b, h) + 2 * first, largest);
        store(kept + in.kept(b, h) + 2 * first + LANES, part);
        products<ROWS, false>(room.out, LANES, room.S, 1, LANES, head.values(), room.e,
                              head.count);
        for (int64_t l = 0; l < head.n; l++)
          for (int64_t i = l * room.e; i < (l + 1) * room.e; i += EIGHT)
            write(room.out + i, read<Eight>(room.out + i) * part[l]);
        if (in.gate) head.open_gate(), head.multiply(room.out, room.share);
        head.scatter_tile(in.heads(y, in.e), room.out, in.e, 1.f);
      }
    }
}

struct Gradients {
  Heads<float> q, k, v;
  float *log_forget, *gate;  // or null
};

// Weights into S and the gradient of scores into dP; the mean of dP under the weights, which is what
// a headwise gate's gradient needs too; and the gradient of the sums of log f.
inline Lanes softmax_backward(const Head& head, const float* kept, double* dsums) {
  const Room& room = head.room;
  const Lanes largest = load(kept), part = load(kept + LANES);
  Lanes mean{}, dqueries{};
  for (int64_t j = 0; j < head.count * LANES; j += LANES) {
    const Lanes p = power(load(room.S + j) - largest) * part;
    store(room.S + j, p);
    mean += p * load(room.dP + j);
  }
  for (int64_t j = 0; j < head.count * LANES; j += LANES) {
    const Lanes ds = load(room.S + j) * (load(room.dP + j) - mean);
    store(room.dP + j, ds);
    if (dsums) dqueries += ds, dsums[head.low + j / LANES] -= sum(ds);
  }
  if (dsums)
    for (int64_t l = 0; l < head.n; l++) dsums[head.token(l)] += dqueries[l];
  return mean;
}

void backward(const Inputs& in, const float* y, const float* kept, const float* dy,
              const Gradients& to) {
  const Room room(in);
  for (int64_t b = 0; b < in.B; b++)
    for (int64_t h = 0; h < in.H; h++) {
      Head head(in, room, b, h);
      const int64_t g = in.group(h);
      if (in.opens_group(h)) {
        std::memset(room.dkeys, 0, room.tokens * room.d * sizeof(float));
        std::memset(room.dvalues, 0, room.tokens * room.e * sizeof(float));
      }
      double* dsums = to.log_forget ? room.dsums : nullptr;
      if (dsums) std::fill(dsums, dsums + room.tokens, 0.);
      for (int64_t first = 0; first < head.queries; first += LANES) {
        head.enter(first);
        head.gather_tile(room.dy, in.heads(dy, in.e), in.e);
        if (in.gate) head.open_gate();
        if (in.gate_width > 1) {
          head.gather_tile(room.out, in.heads(y, in.e), in.e);
          head.multiply(room.out, room.dy);
          head.multiply(room.out, room.rest);
          head.scatter_tile(in.heads(to.gate, in.e), room.out, in.e, 1.f);
        }
        if (in.gate) head.multiply(room.dy, room.share);
        transpose(room.dy_lanes, room.dy, room.e, 1.f);
        scores(room.dP, room.dy_lanes, head.values(), room.e, head.count, Lanes{}, nullptr);
        const Lanes mean = softmax_backward(head, kept + in.kept(b, h) + 2 * first, dsums);
        if (in.gate_width == 1)
          for (int64_t l = 0; l < head.n; l++)
            *in.heads(to.gate, 1).of(head.row, h, head.start + first + l) = mean[l] * room.rest[l];
        products<ROWS, false>(room.out, LANES, room.dP, 1, LANES, head.keys(), room.d, head.count);
        head.scatter_tile(to.q, room.out, in.d, in.scale);
        products<EIGHT, true>(room.dkeys + head.low * room.d, head.count, room.dP, LANES, 1, room.q,
                              room.d, LANES);
        products<EIGHT, true>(room.dvalues + head.low * room.e, head.count, room.S, LANES, 1,
                              room.dy, room.e, LANES);
      }
      double total = 0;
      if (dsums)
        for (int64_t t = in.T - 1; t >= 0; t--)
          *in.heads(to.log_forget, 1).of(b, h, t) = float(total += dsums[t]);
      if (in.closes_group(h)) {
        scatter(to.k.of(b, g), to.k.token, room.dkeys, in.T, in.d, in.scale);
        scatter(to.v.of(b, g), to.v.token, room.dvalues, in.T, in.e, 1.f);
      }
    }
}

}  // namespace

#define HEADS(type, x) type *x, int64_t x##_row, int64_t x##_token, int64_t x##_head
#define INPUTS                                                                                   \
  HEADS(const float, q), HEADS(const float, k), HEADS(const float, v), const float *slopes,      \
      const int64_t *window, const float *log_forget, const float *gate,                         \
      const int64_t *queries, int64_t N, int64_t B, int64_t T, int64_t H, int64_t G, int64_t d,  \
      int64_t e, int64_t gate_width, float scale
#define GIVEN(x) {x, x##_row, x##_token, x##_head}

extern "C" void forward(INPUTS, float* y, float* kept) {
  forward({GIVEN(q), GIVEN(k), GIVEN(v), slopes, window, log_forget, gate, queries, N, B, T, H, G,
           d, e, gate_width, scale},
          y, kept);
}

extern "C" void backward(INPUTS, const float* y, const float* kept, const float* dy,
                         HEADS(float, dq), HEADS(float, dk), HEADS(float, dv), float* dlog,
                         float* dgate) {
  backward({GIVEN(q), GIVEN(k), GIVEN(v), slopes, window, log_forget, gate, queries, N, B, T, H,
            G, d, e, gate_width, scale},
           y, kept, dy, {GIVEN(dq), GIVEN(dk), GIVEN(dv), dlog, dgate});
}
