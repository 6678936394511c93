// PaTH attention on a processor: forward and every gradient, float32, one thread.
//
// Keys come in chunks and queries in blocks of C tokens, as many as a vector has lanes. For each
// chunk (rows of K and W, the formulas are those of __init__.py) X and U are found once by
// substitution. A block of queries is a matrix [d,C]: a lane holds one query. It walks from its own
// chunk to the first,
//
//     Z_k = K Q^T    Z_w = W Q^T    S = Z_k - X^T Z_w    Q <- Q - Z_w^T U        [C keys, C queries]
//
// where Z_w and S of the block's own chunk are cut to the keys that each query sees. The backward
// makes S and the queries of every chunk again, for one block at a time, and keeps them while it
// walks back with the gradient g of the queries, from the first chunk to the block's own. So memory
// grows with T, not with T^2. All sums are matrix products whose accumulators stay in registers.
//
// Queries may be those of some tokens only: then q, y and the gate hold these alone, row after row,
// and a block's queries lie in several chunks. Its own is the last of these; before its token, a
// query is left as it is.
#include "../_lanes.h"

#include <algorithm>
#include <initializer_list>

namespace {

constexpr int64_t C = LANES;  // tokens of a chunk of keys and of a block of queries

enum Sign { PLUS, MINUS };

// out [rows,C] = start +- a b; a [rows,depth] has entry (r,k) at r * STEP + k * stride_a, b [depth,C]
// and out have rows stride_b and stride apart. start is as out, or null for 0. C divides rows.
template <int64_t STEP, Sign SIGN = PLUS>
inline void product(float* out, const float* start, int64_t stride, int64_t rows, const float* a,
                    int64_t stride_a, const float* b, int64_t stride_b, int64_t depth) {
  for (int64_t row = 0; row < rows; row += C) {
    Lanes sums[C];
    for (int64_t r = 0; r < C; r++) sums[r] = start ? load(start + (row + r) * stride) : Lanes{};
    const float* left = a + row * STEP;
    for (int64_t k = 0; k < depth; k++) {
      const Lanes right = load(b + k * stride_b);
      for (int64_t r = 0; r < C; r++) {
        const Lanes term = left[r * STEP + k * stride_a] * right;
        sums[r] = SIGN == PLUS ? sums[r] + term : sums[r] - term;
      }
    }
    for (int64_t r = 0; r < C; r++) store(out + (row + r) * stride, sums[r]);
  }
}

// The same where out and b have `columns` columns, a multiple of C.
template <int64_t STEP, Sign SIGN = PLUS>
inline void wide_product(float* out, const float* start, int64_t columns, const float* a,
                         int64_t stride_a, const float* b, int64_t depth) {
  for (int64_t c = 0; c < columns; c += LANES)
    product<STEP, SIGN>(out + c, start ? start + c : nullptr, columns, C, a, stride_a, b + c,
                        columns, depth);
}

template <int32_t S>
inline void exchange(Lanes* x) {  // the blocks of S x S beside the diagonal change places
  if constexpr (S < C)
    for (int64_t i = 0; i < C; i++) {
      if (i & S) continue;
      const Lanes a = x[i], b = x[i + S];
#if defined(__GNUC__) && !defined(__clang__)
      const Mask n = numbers(), second = (n & S) != 0;
      x[i] = __builtin_shuffle(a, b, second ? n + (int32_t(LANES) - S) : n);
      x[i + S] = __builtin_shuffle(a, b, second ? n + int32_t(LANES) : n + S);
#else
      for (int64_t l = 0; l < LANES; l++)
        if (l & S) x[i][l] = b[l - S];
        else x[i + S][l] = a[l + S];
#endif
    }
}

// out [C,C] = in^T, rows at the given strides.
inline void transpose(float* out, int64_t stride_out, const float* in, int64_t stride_in) {
  Lanes x[C];
  for (int64_t i = 0; i < C; i++) x[i] = load(in + i * stride_in);
  exchange<1>(x), exchange<2>(x), exchange<4>(x), exchange<8>(x);
  for (int64_t i = 0; i < C; i++) store(out + i * stride_out, x[i]);
}

inline void columns_of(float* out, const float* rows, int64_t width) {  // [C,width] -> [width,C]
  for (int64_t c = 0; c < width; c += C) transpose(out + c * C, C, rows + c, width);
}

inline void rows_of(float* out, const float* columns, int64_t width) {  // [width,C] -> [C,width]
  for (int64_t c = 0; c < width; c += C) transpose(out + c, width, columns + c * C, C);
}

// The first of n > 0 numbers, as many as there are lanes.
inline Lanes some(const float* from, int64_t n) {
  return n < LANES ? load(from, n) : load(from);
}

inline void store_some(float* to, Lanes x, int64_t n) {
  if (n < LANES) store(to, x, n);
  else store(to, x);
}

// n of C rows of `width` numbers, padded with zeros to [C,padded].
inline void read(float* out, int64_t padded, const float* from, int64_t stride, int64_t n,
                 int64_t width) {
  for (int64_t i = 0; i < C; i++)
    for (int64_t c = 0; c < padded; c += LANES)
      store(out + i * padded + c, i < n ? some(from + i * stride + c, width - c) : Lanes{});
}

inline void write(float* to, int64_t stride, const float* rows, int64_t padded, int64_t n,
                  int64_t width) {
  for (int64_t i = 0; i < n; i++)
    for (int64_t c = 0; c < padded; c += LANES)
      store_some(to + i * stride + c, load(rows + i * padded + c), width - c);
}

inline void scale_rows(float* rows, int64_t width, const float* factors) {
  for (int64_t i = 0; i < C; i++)
    for (int64_t c = 0; c < width; c += LANES)
      store(rows + i * width + c, load(rows + i * width + c) * factors[i]);
}

inline void keep_before(float* block) {  // row l of [C,C]: columns below l
  for (int64_t l = 0; l < C; l++)
    store(block + l * C, select(numbers() < int32_t(l), load(block + l * C), Lanes{}));
}

// Row l of [C,C]: the columns whose query is at place l of this chunk or later; else `other`.
inline void keep_seen(float* block, Mask places, float other) {
  for (int64_t l = 0; l < C; l++)
    store(block + l * C, select(places >= int32_t(l), load(block + l * C), broadcast(other)));
}

// rows [C,width] <- (I + L)^-1 rows, or (I + L)^-T rows, for strictly lower L [C,C].
template <bool TRANSPOSED>
inline void solve(const float* L, float* rows, int64_t width) {
  for (int64_t c = 0; c < width; c += LANES) {
    Lanes x[C];
    for (int64_t i = 0; i < C; i++) x[i] = load(rows + i * width + c);
    for (int64_t k = 0; k < C; k++) {
      const int64_t l = TRANSPOSED ? C - 1 - k : k;
      if (TRANSPOSED)
        for (int64_t i = 0; i < l; i++) x[i] -= L[l * C + i] * x[l];
      else
        for (int64_t i = l + 1; i < C; i++) x[i] -= L[i * C + l] * x[l];
    }
    for (int64_t i = 0; i < C; i++) store(rows + i * width + c, x[i]);
  }
}

struct Strides {
  int64_t row, token, head;
};

// What both directions are called with; null: absent. Others than q, k and v are contiguous.
struct Inputs {
  const float *q, *k, *v, *w, *beta, *log_forget, *gate;
  const int64_t* offsets;
  const int64_t* queries;  // [N], rising: token t of row b is b T + t. N = -1: all of them
  int64_t N, rows, T, H, G, d, e, gate_width;
  Strides sq, sk, sv;
  float scale;

  int64_t first(int64_t row) const { return offsets ? offsets[row] : 0; }
  int64_t length(int64_t row) const { return offsets ? offsets[row + 1] - offsets[row] : T; }
  int64_t batch(int64_t row) const { return offsets ? 0 : row; }
  // Of the row's first token, in tensors [B,T,...].
  int64_t token(int64_t row) const { return batch(row) * T + first(row); }
  int64_t longest() const {
    int64_t most = 0;
    for (int64_t row = 0; row < rows; row++) most = length(row) > most ? length(row) : most;
    return most;
  }
};

// Where the queries of a row are: numbers first, first + 1, ... of row `row` of q and y, which have
// `of` queries a row.
struct Asked {
  int64_t row, first, count, of;

  Asked(const Inputs& in, int64_t b)
      : row(in.batch(b)), first(in.first(b)), count(in.length(b)), of(in.T) {
    if (in.N < 0) return;
    const int64_t *end = in.queries + in.N, *own = std::lower_bound(in.queries, end, b * in.T);
    row = 0, first = own - in.queries, of = in.N;
    count = std::lower_bound(own, end, (b + 1) * in.T) - own;
  }
};

inline int64_t padded(int64_t n) { return (n + LANES - 1) / LANES * LANES; }
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Hands out memory, or counts what will be asked for where `at` is null.
struct Arena {
  float* at;
  size_t used;
  float* take(int64_t floats) {
    float* part = at ? at + used : nullptr;
    used += floats;
    return part;
  }
};

// One head of keys in one row. Chunk n of an array [N][C][x] starts at n * C * x; a name that ends
// with _t is the chunk's transpose, [N][x][C].
struct Keys {
  int64_t T, N, D, E;
  float *k, *k_t, *w, *w_t, *v, *u, *u_t, *x, *l, *beta;
  float* v_t;       // backward only
  double* forgotten;  // sum of log f up to each token

  Keys(Arena& arena, int64_t longest, int64_t d, int64_t e, bool backward)
      : T(0), N(0), D(padded(d)), E(padded(e)) {
    const int64_t P = padded(longest);
    for (float** part : {&k, &k_t, &w, &w_t, &u, &u_t}) *part = arena.take(P * D);
    v = arena.take(P * E), x = arena.take(P * C), l = arena.take(P * C), beta = arena.take(P);
    v_t = backward ? arena.take(P * E) : nullptr;
    forgotten = reinterpret_cast<double*>(arena.take(2 * P));
  }

  void prepare(const Inputs& in, int64_t row, int64_t g) {
    T = in.length(row), N = padded(T) / C;
    const int64_t b = in.batch(row), first = in.first(row);
    for (int64_t n = 0; n < N; n++) {
      const int64_t t = first + n * C, count = smaller(C, T - n * C), at = n * C * D;
      read(k + at, D, in.k + b * in.sk.row + t * in.sk.token + g * in.sk.head, in.sk.token, count,
           in.d);
      read(v + n * C * E, E, in.v + b * in.sv.row + t * in.sv.token + g * in.sv.head, in.sv.token,
           count, in.e);
      const int64_t head = (b * in.T + t) * in.G + g;
      read(w + at, D, in.w + head * in.d, in.G * in.d, count, in.d);
      for (int64_t i = 0; i < C; i++) beta[n * C + i] = i < count ? in.beta[head + i * in.G] : 0;
      columns_of(k_t + at, k + at, D), columns_of(w_t + at, w + at, D);
      if (v_t) columns_of(v_t + n * C * E, v + n * C * E, E);
      float *X = x + n * C * C, *L = l + n * C * C;
      product<1>(X, nullptr, C, C, w_t + at, C, k_t + at, C, in.d);
      product<1>(L, nullptr, C, C, w_t + at, C, w_t + at, C, in.d);
      std::memcpy(u + at, w + at, C * D * sizeof(float));
      scale_rows(X, C, beta + n * C), scale_rows(L, C, beta + n * C);
      scale_rows(u + at, D, beta + n * C);
      keep_before(X), keep_before(L);
      solve<false>(L, X, C), solve<false>(L, u + at, D);
      columns_of(u_t + at, u + at, D);
    }
  }

  void forget(const Inputs& in, int64_t row, int64_t h) {
    double sum = 0;
    for (int64_t t = 0; t < N * C; t++) {
      if (t < T) sum += in.log_forget[(in.token(row) + t) * in.H + h];
      forgotten[t] = sum;
    }
  }
};

// One block of queries [d,C] on its way through the chunks.
struct Block {
  float *rows, *z, *near;
  int64_t first = 0, count = 0;  // query `first` of q and y, flattened to [B T,...], and so many
  int64_t kept = 0;              // where [B,H,T] has them
  int64_t own = 0, open = 0;     // the chunks of the last and the first
  Mask place = {};               // their tokens; behind the last query, tokens that follow

  Block(Arena& arena, int64_t longest, int64_t width)
      : rows(arena.take(C * width)), z(arena.take(C * C)), near(arena.take(padded(longest))) {}

  // Block n of the queries of a row and a head.
  void enter(const Inputs& in, const Asked& asked, int64_t b, int64_t h, int64_t n) {
    const int64_t at = asked.first + n * C;
    first = asked.row * in.T + at, kept = (asked.row * in.H + h) * asked.of + at;
    count = smaller(C, asked.count - n * C), place = numbers() + int32_t(n * C);
    if (in.N >= 0)
      for (int64_t l = 0; l < C; l++)
        place[l] = int32_t(in.queries[at + smaller(l, count - 1)] - b * in.T);
    own = place[count - 1] / C, open = place[0] / C;
  }

  // The scaled queries -> q [d,C]; and what they have forgotten of each key.
  void start(const Inputs& in, const Keys& keys, const Asked& asked, int64_t h, int64_t n,
             float* q) {
    read(rows, keys.D,
         in.q + asked.row * in.sq.row + (asked.first + n * C) * in.sq.token + h * in.sq.head,
         in.sq.token, count, in.d);
    columns_of(q, rows, keys.D);
    for (int64_t f = 0; f < keys.D; f++) store(q + f * C, load(q + f * C) * in.scale);
    // Sums relative to the block's first token: large ones belong to far keys only.
    if (in.log_forget)
      for (int64_t j = 0; j < (own + 1) * C; j++)
        near[j] = float(keys.forgotten[j] - keys.forgotten[place[0]]);
  }

  // The places of the queries, counted from the first key of chunk n.
  Mask places(int64_t n) const { return place - int32_t(n * C); }

  // s [C keys, C queries] and z_w of queries q at chunk n.
  void logits(const Inputs& in, const Keys& keys, int64_t n, const float* q, float* z_w, float* s) {
    const int64_t at = n * C * keys.D;
    product<1>(z, nullptr, C, C, keys.k_t + at, C, q, C, in.d);
    product<1>(z_w, nullptr, C, C, keys.w_t + at, C, q, C, in.d);
    if (n >= open) keep_seen(z_w, places(n), 0);
    product<1, MINUS>(s, z, C, C, keys.x + n * C * C, C, z_w, C, C);
    if (in.log_forget) {
      Lanes until;
      for (int64_t l = 0; l < C; l++) until[l] = near[place[l]];
      for (int64_t j = 0; j < C; j++) store(s + j * C, load(s + j * C) + (until - near[n * C + j]));
    }
    if (n >= open) keep_seen(s, places(n), -INFINITY);
  }

  // The queries left of chunk n.
  void pass(const Keys& keys, int64_t n, const float* z_w, const float* q, float* left) {
    product<1, MINUS>(left, q, C, keys.D, keys.u + n * C * keys.D, keys.D, z_w, C, C);
  }
};

// sigmoid(x), and 1 - sigmoid(x) without cancellation.
inline void sigmoids(Lanes x, Lanes& open, Lanes& shut) {
  open = sigmoid(x), shut = sigmoid(-x);
}

void forward_head(const Inputs& in, Keys& keys, Block& block, int64_t row, int64_t h, float* q,
                  float* z_w, float* s, float* y_rows, float* y, float* maximum, float* inverse) {
  if (in.log_forget) keys.forget(in, row, h);
  const Asked asked(in, row);
  for (int64_t number = 0; number * C < asked.count; number++) {
    block.enter(in, asked, row, h, number);
    block.start(in, keys, asked, h, number, q);
    const int64_t own = block.own, count = block.count, first = block.first;
    Lanes most = broadcast(-INFINITY), total = {};
    for (int64_t n = own; n >= 0; n--) {
      float* part = s + n * C * C;
      block.logits(in, keys, n, q, z_w, part);
      for (int64_t j = 0; j < C; j++) most = max(most, load(part + j * C));
      if (n) block.pass(keys, n, z_w, q, q);
    }
    for (int64_t j = 0; j < (own + 1) * C; j++) {
      const Lanes p = exp(load(s + j * C) - most);
      store(s + j * C, p);
      total += p;
    }
    wide_product<1>(y_rows, nullptr, keys.E, s, C, keys.v, (own + 1) * C);
    float share[C];
    const Lanes inverted = 1.f / total;
    store(share, inverted);
    scale_rows(y_rows, keys.E, share);
    if (in.gate)
      for (int64_t i = 0; i < count; i++) {
        const float* logits = in.gate + ((first + i) * in.H + h) * in.gate_width;
        const Lanes one = broadcast(logits[0]);
        for (int64_t c = 0; c < in.e; c += LANES) {
          const Lanes x = in.gate_width == 1 ? one : some(logits + c, in.e - c);
          store(y_rows + i * keys.E + c, load(y_rows + i * keys.E + c) * sigmoid(x));
        }
      }
    write(y + (first * in.H + h) * in.e, in.H * in.e, y_rows, keys.E, count, in.e);
    if (maximum) {
      store(maximum + block.kept, most, count);
      store(inverse + block.kept, inverted, count);
    }
  }
}

// Gradients of one head of keys, summed over the heads and blocks of queries that read them.
struct Gradients {
  float *k_t, *w_t, *u_t, *x, *v;  // as in Keys
  double* forgotten;               // of one head of queries
  float *q, *z_w, *ds, *g, *dz, *ds_rows, *dz_rows, *z_rows, *dy, *dy_t;  // of one block
  float *k, *w, *u, *l, *beta;                                              // of one chunk

  Gradients(Arena& arena, int64_t longest, int64_t D, int64_t E) {
    const int64_t P = padded(longest);
    for (float** part : {&k_t, &w_t, &u_t, &q}) *part = arena.take(P * D);
    for (float** part : {&x, &z_w, &ds}) *part = arena.take(P * C);
    v = arena.take(P * E), forgotten = reinterpret_cast<double*>(arena.take(2 * P));
    for (float** part : {&g, &k, &w, &u}) *part = arena.take(D * C);
    for (float** part : {&dz, &ds_rows, &dz_rows, &z_rows, &l}) *part = arena.take(C * C);
    dy = arena.take(C * E), dy_t = arena.take(C * E), beta = arena.take(C);
  }

  void clear(const Keys& keys) {
    for (float* part : {k_t, w_t, u_t})
      std::memset(part, 0, keys.N * C * keys.D * sizeof(float));
    std::memset(x, 0, keys.N * C * C * sizeof(float));
    std::memset(v, 0, keys.N * C * keys.E * sizeof(float));
  }
};

struct Outputs {
  float *q, *k, *v, *w, *beta, *log_forget, *gate;
};

// dy, behind the gate, of a block of queries; dgate; and dy . y of every query.
Lanes open_gradient(const Inputs& in, const Keys& keys, Gradients& to, const float* y,
                    const float* dy, float* dgate, int64_t first, int64_t count, int64_t h) {
  float dots[C] = {};
  std::memset(to.dy, 0, C * keys.E * sizeof(float));
  for (int64_t i = 0; i < count; i++) {
    const int64_t head = (first + i) * in.H + h;
    const float* logits = in.gate ? in.gate + head * in.gate_width : nullptr;
    Lanes dot = {}, slope = {};
    for (int64_t c = 0; c < in.e; c += LANES) {
      const int64_t n = in.e - c;
      Lanes g = some(dy + head * in.e + c, n);
      const Lanes both = g * some(y + head * in.e + c, n);
      dot += both;
      if (logits) {
        Lanes open, shut;
        sigmoids(in.gate_width == 1 ? broadcast(logits[0]) : some(logits + c, n), open, shut);
        g *= open;
        if (in.gate_width == 1) slope += both * shut;
        else store_some(dgate + head * in.e + c, both * shut, n);
      }
      store(to.dy + i * keys.E + c, g);
    }
    dots[i] = sum(dot);
    if (logits && in.gate_width == 1) dgate[head] = sum(slope);
  }
  columns_of(to.dy_t, to.dy, keys.E);
  return load(dots);
}

void backward_head(const Inputs& in, Keys& keys, Block& block, Gradients& to, int64_t row,
                   int64_t h, const float* y, const float* dy, const float* maximum,
                   const float* inverse, const Outputs& out) {
  const int64_t D = keys.D, E = keys.E;
  if (in.log_forget) {
    keys.forget(in, row, h);
    for (int64_t t = 0; t < keys.N * C; t++) to.forgotten[t] = 0;
  }
  const Asked asked(in, row);
  for (int64_t number = 0; number * C < asked.count; number++) {
    block.enter(in, asked, row, h, number);
    const int64_t own = block.own, count = block.count, first = block.first;
    const Lanes dot = open_gradient(in, keys, to, y, dy, out.gate, first, count, h);
    // Queries behind the row's last have no weights at all.
    const Lanes most = select(numbers() < int32_t(count), load(maximum + block.kept, count),
                              broadcast(INFINITY));
    const Lanes share = load(inverse + block.kept, count);
    block.start(in, keys, asked, h, number, to.q + own * C * D);
    Lanes total = {};
    for (int64_t n = own; n >= 0; n--) {
      float *p = block.z, *ds = to.ds + n * C * C, *q = to.q + n * C * D;
      block.logits(in, keys, n, q, to.z_w + n * C * C, ds);
      if (n) block.pass(keys, n, to.z_w + n * C * C, q, q - C * D);
      for (int64_t j = 0; j < C; j++) store(p + j * C, exp(load(ds + j * C) - most) * share);
      wide_product<C>(to.v + n * C * E, to.v + n * C * E, E, p, 1, to.dy, C);
      product<1>(ds, nullptr, C, C, keys.v_t + n * C * E, C, to.dy_t, C, in.e);
      for (int64_t j = 0; j < C; j++) {
        const Lanes slope = load(p + j * C) * (load(ds + j * C) - dot);
        store(ds + j * C, slope);
        total += slope;
      }
    }
    std::memset(to.g, 0, C * D * sizeof(float));
    for (int64_t n = 0; n <= own; n++) {
      const float *ds = to.ds + n * C * C, *z_w = to.z_w + n * C * C, *q = to.q + n * C * D;
      float *dk = to.k_t + n * C * D, *dw = to.w_t + n * C * D, *du = to.u_t + n * C * D;
      product<C, MINUS>(to.dz, nullptr, C, C, keys.x + n * C * C, 1, ds, C, C);
      if (n)  // nothing is left of the first chunk: g is 0 there
        product<1, MINUS>(to.dz, to.dz, C, C, keys.u_t + n * C * D, C, to.g, C, in.d);
      if (n >= block.open) keep_seen(to.dz, block.places(n), 0);
      transpose(to.ds_rows, C, ds, C);
      transpose(to.dz_rows, C, to.dz, C);
      product<C, MINUS>(to.x + n * C * C, to.x + n * C * C, C, C, z_w, 1, to.ds_rows, C, C);
      product<C>(dk, dk, C, D, q, 1, to.ds_rows, C, C);
      product<C>(dw, dw, C, D, q, 1, to.dz_rows, C, C);
      if (n) {
        transpose(to.z_rows, C, z_w, C);
        product<C, MINUS>(du, du, C, D, to.g, 1, to.z_rows, C, C);
      }
      product<1>(to.g, to.g, C, D, keys.k + n * C * D, D, ds, C, C);
      product<1>(to.g, to.g, C, D, keys.w + n * C * D, D, to.dz, C, C);
      if (in.log_forget) {
        Lanes lost = {};
        for (int64_t i = 0; i < C; i++) lost += load(to.ds_rows + i * C);
        for (int64_t j = 0; j < C; j++) to.forgotten[n * C + j] -= lost[j];
      }
    }
    // 0 but for rounding; with it the gradient of log f is more exact.
    if (in.log_forget)
      for (int64_t i = 0; i < count; i++) to.forgotten[block.place[i]] += total[i];
    for (int64_t f = 0; f < D; f++) store(to.g + f * C, load(to.g + f * C) * in.scale);
    rows_of(block.rows, to.g, D);
    write(out.q + (first * in.H + h) * in.d, in.H * in.d, block.rows, D, count, in.d);
  }
  if (in.log_forget) {
    double sum = 0;
    for (int64_t t = keys.T - 1; t >= 0; t--) {
      sum += to.forgotten[t];
      out.log_forget[(in.token(row) + t) * in.H + h] = float(sum);
    }
  }
}

// From X, U and the direct terms of a chunk to its keys, directions and strengths.
void backward_keys(const Inputs& in, const Keys& keys, Gradients& to, int64_t row, int64_t g,
                   const Outputs& out) {
  const int64_t D = keys.D;
  for (int64_t n = 0; n < keys.N; n++) {
    const int64_t at = n * C * D, count = smaller(C, keys.T - n * C);
    const float *K = keys.k + at, *W = keys.w + at, *L = keys.l + n * C * C;
    const float* beta = keys.beta + n * C;
    float *dM = to.x + n * C * C, *dL = to.l;
    rows_of(to.k, to.k_t + at, D), rows_of(to.w, to.w_t + at, D), rows_of(to.u, to.u_t + at, D);
    solve<true>(L, dM, C), solve<true>(L, to.u, D);
    columns_of(to.g, to.u, D);
    transpose(to.dz, C, keys.x + n * C * C, C);
    product<C, MINUS>(dL, nullptr, C, C, dM, 1, to.dz, C, C);
    product<1, MINUS>(dL, dL, C, C, to.g, C, keys.u_t + at, C, in.d);
    keep_before(dM), keep_before(dL);
    wide_product<C>(to.u, to.u, D, dM, 1, K, C);
    wide_product<C>(to.u, to.u, D, dL, 1, W, C);
    for (int64_t i = 0; i < C; i++) {
      Lanes dot = {};
      for (int64_t c = 0; c < D; c += LANES) dot += load(to.u + i * D + c) * load(W + i * D + c);
      to.beta[i] = sum(dot);
    }
    for (float* part : {dM, dL}) scale_rows(part, C, beta);
    scale_rows(to.u, D, beta);
    wide_product<1>(to.k, to.k, D, dM, C, W, C);
    wide_product<1>(to.w, to.w, D, dL, C, W, C);
    for (int64_t c = 0; c < C * D; c += LANES) store(to.w + c, load(to.w + c) + load(to.u + c));
    const int64_t head = (in.token(row) + n * C) * in.G + g;
    write(out.k + head * in.d, in.G * in.d, to.k, D, count, in.d);
    write(out.w + head * in.d, in.G * in.d, to.w, D, count, in.d);
    write(out.v + head * in.e, in.G * in.e, to.v + n * C * keys.E, keys.E, count, in.e);
    for (int64_t i = 0; i < count; i++) out.beta[head + i * in.G] = to.beta[i];
  }
}

}  // namespace

// q [B,T,H,d], k [B,T,G,d], v [B,T,G,e] with the strides at the end; w [B,T,G,d], beta [B,T,G],
// log_forget [B,T,H], gate [B,T,H,gate_width], offsets [rows + 1]; y [B,T,H,e]; maximum and inverse
// [B,H,T]: the largest logit of every query and 1 / its sum of exponentials, or null. With queries
// [N], q, gate, y, maximum and inverse have 1 and N in the place of B and T.
extern "C" void forward(const float* q, const float* k, const float* v, const float* w,
                        const float* beta, const float* log_forget, const float* gate,
                        const int64_t* offsets, const int64_t* queries, int64_t N, int64_t rows,
                        int64_t T, int64_t H, int64_t G, int64_t d, int64_t e, int64_t gate_width,
                        int64_t q_row, int64_t q_token, int64_t q_head, int64_t k_row,
                        int64_t k_token, int64_t k_head, int64_t v_row, int64_t v_token,
                        int64_t v_head, float scale, float* y,
                        float* maximum, float* inverse) {
  const Inputs in{q, k, v, w, beta, log_forget, gate, offsets, queries, N, rows, T, H, G, d, e,
                  gate_width, {q_row, q_token, q_head}, {k_row, k_token, k_head},
                  {v_row, v_token, v_head}, scale};
  const int64_t longest = in.longest(), P = padded(longest);
  size_t floats = 0;
  for (float* memory = nullptr;; memory = scratch(floats)) {
    Arena arena{memory, 0};
    Keys keys(arena, longest, d, e, false);
    Block block(arena, longest, keys.D);
    float *part = arena.take(C * keys.D), *z_w = arena.take(C * C), *s = arena.take(P * C);
    float* y_rows = arena.take(C * keys.E);
    floats = arena.used;
    if (!memory) continue;
    for (int64_t row = 0; row < rows; row++)
      for (int64_t g = 0; g < G; g++) {
        keys.prepare(in, row, g);
        for (int64_t h = g * (H / G); h < (g + 1) * (H / G); h++)
          forward_head(in, keys, block, row, h, part, z_w, s, y_rows, y, maximum, inverse);
      }
    return;
  }
}

// The same inputs, y, dy [B,T,H,e] and what the forward kept; gradients are contiguous.
extern "C" void backward(const float* q, const float* k, const float* v, const float* w,
                         const float* beta, const float* log_forget, const float* gate,
                         const int64_t* offsets, const int64_t* queries, int64_t N, int64_t rows,
                         int64_t T, int64_t H, int64_t G, int64_t d, int64_t e, int64_t gate_width,
                         int64_t q_row, int64_t q_token, int64_t q_head, int64_t k_row,
                         int64_t k_token, int64_t k_head, int64_t v_row, int64_t v_token,
                         int64_t v_head, float scale,
                         const float* y, const float* maximum, const float* inverse,
                         const float* dy, float* dq, float* dk, float* dv, float* dw, float* dbeta,
                         float* dlog, float* dgate) {
  const Inputs in{q, k, v, w, beta, log_forget, gate, offsets, queries, N, rows, T, H, G, d, e,
                  gate_width, {q_row, q_token, q_head}, {k_row, k_token, k_head},
                  {v_row, v_token, v_head}, scale};
  const Outputs out{dq, dk, dv, dw, dbeta, dlog, dgate};
  const int64_t longest = in.longest();
  size_t floats = 0;
  for (float* memory = nullptr;; memory = scratch(floats)) {
    Arena arena{memory, 0};
    Keys keys(arena, longest, d, e, true);
    Block block(arena, longest, keys.D);
    Gradients gradients(arena, longest, keys.D, keys.E);
    floats = arena.used;
    if (!memory) continue;
    for (int64_t row = 0; row < rows; row++)
      for (int64_t g = 0; g < G; g++) {
        keys.prepare(in, row, g);
        gradients.clear(keys);
        for (int64_t h = g * (H / G); h < (g + 1) * (H / G); h++)
          backward_head(in, keys, block, gradients, row, h, y, dy, maximum, inverse, out);
        backward_keys(in, keys, gradients, row, g, out);
      }
    return;
  }
}
