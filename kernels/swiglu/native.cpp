// The product with a SiLU gate. Lanes are neighbouring numbers of one token; backward the sigmoid
// is computed again, so that nothing but the inputs is kept.
#include "../_lanes.h"

// x, gate [n,D] by the strides of a token -> y [n,D].
extern "C" void forward(
    const float* x, const float* gate, float* y, int64_t n, int64_t D, int64_t x_stride,
    int64_t gate_stride) {
  for (int64_t t = 0; t < n; t++, x += x_stride, gate += gate_stride, y += D)
    for (int64_t i = 0; i < D; i += LANES) {
      const Lanes z = part(gate + i, D - i);
      put(y + i, part(x + i, D - i) * (z * sigmoid(z)), D - i);
    }
}

// The gradients [n,D] of x and gate.
extern "C" void backward(
    const float* x, const float* gate, const float* dy, float* dx, float* dgate, int64_t n,
    int64_t D, int64_t x_stride, int64_t gate_stride, int64_t dy_stride) {
  for (int64_t t = 0; t < n; t++) {
    for (int64_t i = 0; i < D; i += LANES) {
      const Lanes z = part(gate + i, D - i), s = sigmoid(z), g = part(dy + i, D - i);
      put(dx + i, g * (z * s), D - i);
      put(dgate + i, g * part(x + i, D - i) * (s + z * s * (1.f - s)), D - i);
    }
    x += x_stride, gate += gate_stride, dy += dy_stride, dx += D, dgate += D;
  }
}
