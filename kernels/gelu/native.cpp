// GELU. Lanes are neighbouring numbers. The forward pass writes the derivative too, where somebody
// wants the gradient: e^2u is at hand there, and a product is all that is left to do backward.
#include "../_lanes.h"

static inline void gelu(Lanes x, Lanes& y, Lanes& slope) {
  const float c = 0.7978845608f, cube = 0.044715f;
  const Lanes square = x * x;
  // Far to the left e^-2u would be infinite, and the slope 0 times infinity.
  Lanes e = -2.f * c * x * (1.f + cube * square);
  e = exp(e > 87.f ? broadcast(87.f) : e);
  const Lanes s = 1.f / (1.f + e);
  y = x * s;
  slope = s + y * (e * s) * (2.f * c) * (1.f + 3.f * cube * square);  // e s = 1 - s, not rounded
}

// x [n] -> y [n] and, unless null, dy/dx [n].
extern "C" void forward(const float* x, float* y, float* slope, int64_t n) {
  Lanes a, b;
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    gelu(load(x + i), a, b);
    store(y + i, a);
    if (slope) store(slope + i, b);
  }
  if (i < n) {
    gelu(load(x + i, n - i), a, b);
    store(y + i, a, n - i);
    if (slope) store(slope + i, b, n - i);
  }
}
