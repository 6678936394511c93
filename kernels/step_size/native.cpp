// Step sizes. Lanes are neighbouring channels, of which W holds [R][D]. The forward pass writes the
// derivative sigmoid(z) too, where a gradient is wanted. Backward, a token's gradient of x is summed
// over channels in lanes, and the gradients of W and b over tokens, in their order.
#include "../_lanes.h"

constexpr int64_t MOST = 16;

// log(1 + a) for 0 <= a <= 1: the series of 2 artanh(s) at s = a / (2 + a) <= 1/3.
static inline Lanes log_one_more(Lanes a) {
  const Lanes s = a / (a + 2.f), q = s * s;
  Lanes p = broadcast(2.f / 15);
  p = p * q + 2.f / 13;
  p = p * q + 2.f / 11;
  p = p * q + 2.f / 9;
  p = p * q + 2.f / 7;
  p = p * q + 2.f / 5;
  p = p * q + 2.f / 3;
  return s * (p * q + 2.f);
}

// x [n,R] by the stride of a token, W [R,D], b [D] -> y [n,D] and, unless null, slope [n,D].
extern "C" void forward(
    const float* x, const float* W, const float* b, float* y, float* slope, int64_t n, int64_t R,
    int64_t D, int64_t stride) {
  for (int64_t t = 0; t < n; t++, x += stride, y += D)
    for (int64_t i = 0; i < D; i += LANES) {
      Lanes z = part(b + i, D - i);
      for (int64_t r = 0; r < R; r++) z += x[r] * part(W + r * D + i, D - i);
      const Lanes a = exp(z < 0.f ? z : -z), share = 1.f / (1.f + a);
      put(y + i, (z > 0.f ? z : z * 0.f) + log_one_more(a), D - i);  // z * 0: NaN stays
      if (slope) put(slope + t * D + i, z < 0.f ? a * share : share, D - i);
    }
}

// dx [n,R], dW [R,D], db [D]; dy by the stride of a token.
extern "C" void backward(
    const float* dy, const float* x, const float* W, const float* slope, float* dx, float* dW,
    float* db, int64_t n, int64_t R, int64_t D, int64_t stride, int64_t dy_stride) {
  std::memset(dW, 0, R * D * sizeof(float));
  std::memset(db, 0, D * sizeof(float));
  for (int64_t t = 0; t < n; t++, x += stride, dy += dy_stride, slope += D, dx += R) {
    Lanes along[MOST] = {};
    for (int64_t i = 0; i < D; i += LANES) {
      const Lanes g = part(dy + i, D - i) * part(slope + i, D - i);
      put(db + i, part(db + i, D - i) + g, D - i);
      for (int64_t r = 0; r < R; r++) {
        float* at = dW + r * D + i;
        along[r] += g * part(W + r * D + i, D - i);
        put(at, part(at, D - i) + x[r] * g, D - i);
      }
    }
    for (int64_t r = 0; r < R; r++) dx[r] = sum(along[r]);
  }
}
