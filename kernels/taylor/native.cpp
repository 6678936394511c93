// The second-order kernel over all pairs of tokens. Lanes are queries: 4 keys meet VECTORS vectors of
// queries, and their scores stay in registers. Queries (and what comes back to them) are turned to
// [channel][query] once per head; keys and values are read as they lie. Keys go in steps of 4 from
// the first; vectors of queries before the first of them are skipped, and within the vector on the
// diagonal, lanes of earlier queries are set to 0. The gradients of keys and values sum over
// queries, so there lanes are channels.
//
//   forward   y_i = sum_j p_ij v_j / z_i     z_i = sum_j p_ij     p = (a^2 + 1) / 2     a = 1 + s
//   backward  g_i = dy_i / z_i     c_i = -g_i . y_i     dp_ij = g_i . v_j + c_i     ds = dp a
//             dq_i = sum_j ds k_j / sqrt(f)     dk_j = sum_i ds q_i / sqrt(f)     dv_j = sum_i p g_i
#include "../_lanes.h"

namespace {

constexpr int64_t VECTORS = 2;

// A tensor [B,T,H,width] whose last dimension is dense.
struct Strides {
  int64_t row, token, head;
};

// 1 + s of K keys and N vectors of queries. q [f][P] holds q / sqrt(f).
template <int K, int N>
inline void scores(const float* q, int64_t P, int64_t f, const float* k, int64_t token, Lanes (*a)[N]) {
  for (int j = 0; j < K; j++)
    for (int n = 0; n < N; n++) a[j][n] = broadcast(1.f);
  for (int64_t m = 0; m < f; m++)
    for (int n = 0; n < N; n++) {
      const Lanes x = load(q + m * P + n * LANES);
      for (int j = 0; j < K; j++) a[j][n] += x * k[j * token + m];
    }
}

// Zero p where the query comes before the key; `ahead` is the first query's number less the key's.
template <int K, int N>
inline void cut(Lanes (*p)[N], int64_t ahead) {
  for (int j = 0; j < K; j++)
    for (int n = 0; n < N; n++)
      if (ahead + n * LANES - j < 0)
        p[j][n] = select(numbers() + int32_t(ahead + n * LANES) >= j, p[j][n], Lanes{});
}

// out[m] += sum over keys of w[j] times x_j[m], for all channels m of x.
template <int K, int N>
inline void to_queries(float* out, int64_t P, int64_t width, Lanes (*w)[N], const float* x, int64_t token) {
  for (int64_t m = 0; m < width; m++)
    for (int n = 0; n < N; n++) {
      float* at = out + m * P + n * LANES;
      Lanes sum = load(at);
      for (int j = 0; j < K; j++) sum += w[j][n] * x[j * token + m];
      store(at, sum);
    }
}

// out[j][m] += sum over queries of w[j] times x[m]. Here lanes are channels: x [query][W], out [K][W].
template <int K, int N>
inline void to_keys(float* out, const float* x, int64_t W, Lanes (*w)[N]) {
  float each[K][N * LANES];
  for (int j = 0; j < K; j++)
    for (int n = 0; n < N; n++) store(each[j] + n * LANES, w[j][n]);
  for (int64_t m = 0; m < W; m += LANES) {
    Lanes sum[K];
    for (int j = 0; j < K; j++) sum[j] = load(out + j * W + m);
    for (int64_t i = 0; i < N * LANES; i++) {
      const Lanes a = load(x + i * W + m);
      for (int j = 0; j < K; j++) sum[j] += each[j][i] * a;
    }
    for (int j = 0; j < K; j++) store(out + j * W + m, sum[j]);
  }
}

struct Head {
  int64_t T, P, f, e;  // P: T rounded up to vectors
  const float *k, *v;
  int64_t k_token, v_token;
  float *q, *num, *z;              // [f][P], [e][P], [P]
  int64_t F, E;                    // f and e rounded up to lanes
  float *g, *c, *dq;               // [e][P], [P], [f][P]
  float *rows, *grads, *dk, *dv;  // q [P][F], g [P][E]; of 4 keys [4][F], [4][E]

  template <int K, int N>
  void forward(int64_t i, int64_t j) const {
    Lanes p[K][N];
    scores<K, N>(q + i, P, f, k + j * k_token, k_token, p);
    for (int a = 0; a < K; a++)
      for (int n = 0; n < N; n++) p[a][n] = 0.5f * (p[a][n] * p[a][n] + 1.f);
    cut<K, N>(p, i - j);
    for (int n = 0; n < N; n++) {
      Lanes sum = load(z + i + n * LANES);
      for (int a = 0; a < K; a++) sum += p[a][n];
      store(z + i + n * LANES, sum);
    }
    to_queries<K, N>(num + i, P, e, p, v + j * v_token, v_token);
  }

  template <int K, int N>
  void backward(int64_t i, int64_t j) const {
    Lanes a[K][N], w[K][N];
    scores<K, N>(q + i, P, f, k + j * k_token, k_token, a);
    cut<K, N>(a, i - j);
    for (int x = 0; x < K; x++)
      for (int n = 0; n < N; n++) w[x][n] = 0.5f * (a[x][n] * a[x][n] + 1.f);
    cut<K, N>(w, i - j);
    to_keys<K, N>(dv, grads + i * E, E, w);
    for (int n = 0; n < N; n++)
      for (int x = 0; x < K; x++) w[x][n] = load(c + i + n * LANES);
    for (int64_t m = 0; m < e; m++)
      for (int n = 0; n < N; n++) {
        const Lanes y = load(g + m * P + i + n * LANES);
        for (int x = 0; x < K; x++) w[x][n] += y * v[(j + x) * v_token + m];
      }
    for (int x = 0; x < K; x++)
      for (int n = 0; n < N; n++) w[x][n] *= a[x][n];
    to_queries<K, N>(dq + i, P, f, w, k + j * k_token, k_token);
    to_keys<K, N>(dk, rows + i * F, F, w);
  }

  template <int K, bool BACK>
  void keys(int64_t j) const {
    int64_t i = j / LANES * LANES;
    for (; i + VECTORS * LANES <= P; i += VECTORS * LANES)
      BACK ? backward<K, VECTORS>(i, j) : forward<K, VECTORS>(i, j);
    for (; i < P; i += LANES) BACK ? backward<K, 1>(i, j) : forward<K, 1>(i, j);
  }
};

// x [T][width] to [width][P], times a factor; places beyond T are 0.
inline void turn(const float* x, int64_t token, int64_t T, int64_t P, int64_t width, float factor,
                 float* out) {
  for (int64_t m = 0; m < width; m++) {
    float* to = out + m * P;
    for (int64_t t = 0; t < T; t++) to[t] = x[t * token + m] * factor;
    for (int64_t t = T; t < P; t++) to[t] = 0;
  }
}

inline void turn_back(const float* x, int64_t T, int64_t P, int64_t width, float factor, float* out,
                      int64_t token) {
  for (int64_t m = 0; m < width; m++)
    for (int64_t t = 0; t < T; t++) out[t * token + m] = x[m * P + t] * factor;
}

inline int64_t padded(int64_t T) { return (T + LANES - 1) / LANES * LANES; }

}  // namespace

// q, k [B,T,H,f], v [B,T,H,e] with strides [3][row, token, head] -> y [B,T,H,e] and z [B,H,T], dense.
extern "C" void forward(const float* q, const float* k, const float* v, const int64_t* strides,
                        float* y, float* z, int64_t B, int64_t T, int64_t H, int64_t f, int64_t e) {
  const Strides* s = reinterpret_cast<const Strides*>(strides);
  const int64_t P = padded(T);
  Head h{};
  h.T = T, h.P = P, h.f = f, h.e = e, h.k_token = s[1].token, h.v_token = s[2].token;
  h.q = scratch((f + e + 1) * P), h.num = h.q + f * P, h.z = h.num + e * P;
  for (int64_t b = 0; b < B; b++)
    for (int64_t n = 0; n < H; n++, z += T) {
      turn(q + b * s[0].row + n * s[0].head, s[0].token, T, P, f, 1.f / std::sqrt(float(f)), h.q);
      h.k = k + b * s[1].row + n * s[1].head, h.v = v + b * s[2].row + n * s[2].head;
      std::memset(h.num, 0, (e + 1) * P * sizeof(float));
      int64_t j = 0;
      for (; j + 4 <= T; j += 4) h.keys<4, false>(j);
      for (; j < T; j++) h.keys<1, false>(j);
      std::memcpy(z, h.z, T * sizeof(float));
      for (int64_t t = 0; t < T; t++) h.z[t] = 1.f / h.z[t];
      for (int64_t m = 0; m < e; m++)
        for (int64_t t = 0; t < T; t++) h.num[m * P + t] *= h.z[t];
      turn_back(h.num, T, P, e, 1.f, y + (b * T * H + n) * e, H * e);
    }
}

// dy, y [B,T,H,e] and z [B,H,T] dense -> dq, dk [B,T,H,f], dv [B,T,H,e], of these strides.
extern "C" void backward(const float* dy, const float* q, const float* k, const float* v,
                         const float* y, const float* z, const int64_t* strides, float* dq,
                         float* dk, float* dv, const int64_t* to, int64_t B, int64_t T, int64_t H,
                         int64_t f, int64_t e) {
  const Strides *s = reinterpret_cast<const Strides*>(strides), *d = reinterpret_cast<const Strides*>(to);
  const int64_t P = padded(T);
  const float scale = 1.f / std::sqrt(float(f));
  Head h{};
  h.T = T, h.P = P, h.f = f, h.e = e, h.k_token = s[1].token, h.v_token = s[2].token;
  const int64_t F = h.F = padded(f), E = h.E = padded(e);
  h.q = scratch((2 * f + e + 1 + F + E) * P + 4 * (F + E)), h.dq = h.q + f * P, h.g = h.dq + f * P;
  h.c = h.g + e * P, h.rows = h.c + P, h.grads = h.rows + F * P;
  h.dk = h.grads + E * P, h.dv = h.dk + 4 * F;
  std::memset(h.rows, 0, (F + E) * P * sizeof(float));
  for (int64_t b = 0; b < B; b++)
    for (int64_t n = 0; n < H; n++, z += T) {
      turn(q + b * s[0].row + n * s[0].head, s[0].token, T, P, f, scale, h.q);
      h.k = k + b * s[1].row + n * s[1].head, h.v = v + b * s[2].row + n * s[2].head;
      std::memset(h.dq, 0, (f + e + 1) * P * sizeof(float));
      for (int64_t t = 0; t < T; t++) {
        const float *from = dy + ((b * T + t) * H + n) * e, *out = y + ((b * T + t) * H + n) * e;
        const float share = 1.f / z[t];
        float along = 0, *row = h.grads + t * E;
        for (int64_t m = 0; m < e; m++) row[m] = from[m] * share;
        for (int64_t m = 0; m < e; m++) along += row[m] * out[m];
        h.c[t] = -along;
        for (int64_t m = 0; m < f; m++) h.rows[t * F + m] = h.q[m * P + t];  // holds 1 / sqrt(f)
      }
      turn(h.grads, E, T, P, e, 1.f, h.g);
      float *dk_ = dk + b * d[1].row + n * d[1].head, *dv_ = dv + b * d[2].row + n * d[2].head;
      for (int64_t j = 0; j < T;) {
        const int64_t K = T - j >= 4 ? 4 : 1;
        std::memset(h.dk, 0, 4 * (F + E) * sizeof(float));
        K == 4 ? h.keys<4, true>(j) : h.keys<1, true>(j);
        for (int64_t i = 0; i < K; i++, j++) {
          std::memcpy(dk_ + j * d[1].token, h.dk + i * F, f * sizeof(float));
          std::memcpy(dv_ + j * d[2].token, h.dv + i * E, e * sizeof(float));
        }
      }
      turn_back(h.dq, T, P, f, scale, dq + b * d[0].row + n * d[0].head, d[0].token);
    }
}
