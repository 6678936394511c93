// Short causal depthwise convolution, with or without SiLU. Lanes are channels; a row's tokens pass
// through a window of w vectors in registers, forward from the first token, backward from the last.
// Backward the sum before the SiLU is run again, and its gradients pass through a window as well.
#include "../_lanes.h"

#include <algorithm>

namespace {

constexpr int64_t MOST = 16;  // taps

struct Arrays {
  int64_t B, T, C, w, x_stride, dy_stride;  // strides: from one token to the next
  const float *x, *weight, *bias, *dy;
  float *y, *dx, *dweight, *dbias;
};

template <int64_t W>
inline Lanes sum_of_taps(
    const Lanes (&window)[MOST], const Lanes (&taps)[MOST], Lanes sum, int64_t w) {
#pragma GCC unroll 4
  for (int64_t i = 0; i < (W ? W : w); i++) sum += taps[i] * window[i];
  return sum;
}

// W: the number of taps, or 0 where it is known at run time only.
template <int64_t W>
void forward(const Arrays& a, bool silu) {
  const int64_t w = W ? W : a.w;
  for (int64_t row = 0; row < a.B; row++)
    for (int64_t c = 0; c < a.C; c += LANES) {
      const int64_t n = a.C - c;
      const float* x = a.x + row * a.T * a.x_stride + c;
      float* y = a.y + row * a.T * a.C + c;
      const Lanes bias = a.bias ? part(a.bias + c, n) : Lanes{};
      Lanes taps[MOST], window[MOST] = {};
      for (int64_t i = 0; i < w; i++) taps[i] = part(a.weight + i * a.C + c, n);
      for (int64_t t = 0; t < a.T; t++, x += a.x_stride, y += a.C) {
#pragma GCC unroll 4
        for (int64_t i = 0; i + 1 < w; i++) window[i] = window[i + 1];
        window[w - 1] = part(x, n);
        const Lanes sum = sum_of_taps<W>(window, taps, bias, w);
        put(y, silu ? sum * sigmoid(sum) : sum, n);
      }
    }
}

template <int64_t W>
void backward(const Arrays& a, bool silu) {
  const int64_t w = W ? W : a.w;
  std::fill(a.dweight, a.dweight + w * a.C, 0.f);
  if (a.dbias) std::fill(a.dbias, a.dbias + a.C, 0.f);
  for (int64_t row = 0; row < a.B; row++)
    for (int64_t c = 0; c < a.C; c += LANES) {
      const int64_t n = a.C - c;
      const float* x = a.x + row * a.T * a.x_stride + c;
      const float* dy = a.dy + row * a.T * a.dy_stride + c;
      float* dx = a.dx + row * a.T * a.C + c;
      const Lanes bias = a.bias ? part(a.bias + c, n) : Lanes{};
      // later[i] meets tap i: the gradient of the sum at token t + w - 1 - i.
      Lanes taps[MOST], window[MOST] = {}, later[MOST] = {}, dtaps[MOST] = {}, dbias{};
      for (int64_t i = 0; i < w; i++) {
        const int64_t t = a.T - w + i;  // one token further left moves in below
        taps[i] = part(a.weight + i * a.C + c, n);
        if (i > 0) window[i - 1] = t >= 0 ? part(x + t * a.x_stride, n) : Lanes{};
      }
      // The window is now that of token T, but for its last place.
      for (int64_t t = a.T - 1; t >= 0; t--) {
#pragma GCC unroll 4
        for (int64_t i = w - 1; i > 0; i--) {
          window[i] = window[i - 1];
          later[w - 1 - i] = later[w - i];
        }
        window[0] = t >= w - 1 ? part(x + (t - w + 1) * a.x_stride, n) : Lanes{};
        Lanes g = part(dy + t * a.dy_stride, n);
        if (silu) {
          const Lanes sum = sum_of_taps<W>(window, taps, bias, w), gate = sigmoid(sum);
          g *= gate + sum * gate * (1.f - gate);
        }
        later[w - 1] = g;
        dbias += g;
#pragma GCC unroll 4
        for (int64_t i = 0; i < w; i++) dtaps[i] += g * window[i];
        put(dx + t * a.C, sum_of_taps<W>(later, taps, Lanes{}, w), n);
      }
      if (a.dbias) put(a.dbias + c, part(a.dbias + c, n) + dbias, n);
      for (int64_t i = 0; i < w; i++) {
        float* to = a.dweight + i * a.C + c;
        put(to, part(to, n) + dtaps[i], n);
      }
    }
}

}  // namespace

// x [B,T,C], weight [w,C], bias [C] or null -> y [B,T,C]. Rows follow each other.
extern "C" void forward(
    const float* x, const float* weight, const float* bias, float* y, int64_t B, int64_t T,
    int64_t C, int64_t w, int64_t x_stride, int64_t silu) {
  Arrays a{B, T, C, w, x_stride, 0, x, weight, bias, nullptr, y, nullptr, nullptr, nullptr};
  w == 4 ? forward<4>(a, silu) : w == 3 ? forward<3>(a, silu) : forward<0>(a, silu);
}

// The gradients dx [B,T,C], dweight [w,C] and, unless null, dbias [C].
extern "C" void backward(
    const float* x, const float* weight, const float* bias, const float* dy, float* dx,
    float* dweight, float* dbias, int64_t B, int64_t T, int64_t C, int64_t w, int64_t x_stride,
    int64_t dy_stride, int64_t silu) {
  Arrays a{B, T, C, w, x_stride, dy_stride, x, weight, bias, dy, nullptr, dx, dweight, dbias};
  w == 4 ? backward<4>(a, silu) : w == 3 ? backward<3>(a, silu) : backward<0>(a, silu);
}
