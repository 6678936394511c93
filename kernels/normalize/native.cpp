// Rows of norm 1. Lanes are neighbouring channels of one row; channels beyond the last full vector
// are lanes that read 0. A row is read from memory once and from the first cache after that.
#include "../_lanes.h"

namespace {

constexpr float LARGEST = 1e12f;  // of 1 / |x|: shorter rows are scaled by it

}  // namespace

// x, y [n,D]; inverse [n]: what each row is scaled by.
extern "C" void forward(const float* x, float* y, float* inverse, int64_t n, int64_t D) {
  const int64_t full = D / LANES * LANES, rest = D - full;
  for (int64_t row = 0; row < n; row++, x += D, y += D) {
    Lanes squares = {};
    for (int64_t i = 0; i < full; i += LANES) squares += load(x + i) * load(x + i);
    if (rest) squares += load(x + full, rest) * load(x + full, rest);
    const float scale = 1.f / std::sqrt(sum(squares));
    const float s = inverse[row] = scale > LARGEST ? LARGEST : scale;
    for (int64_t i = 0; i < full; i += LANES) store(y + i, load(x + i) * s);
    if (rest) store(y + full, load(x + full, rest) * s, rest);
  }
}

// dx [n,D] = inverse (dy - y (y . dy)), without the second term in rows that were too short.
extern "C" void backward(const float* dy, const float* y, const float* inverse, float* dx,
                         int64_t n, int64_t D) {
  const int64_t full = D / LANES * LANES, rest = D - full;
  for (int64_t row = 0; row < n; row++, dy += D, y += D, dx += D) {
    const float s = inverse[row];
    float along = 0;
    if (s < LARGEST) {
      Lanes products = {};
      for (int64_t i = 0; i < full; i += LANES) products += load(dy + i) * load(y + i);
      if (rest) products += load(dy + full, rest) * load(y + full, rest);
      along = sum(products);
    }
    for (int64_t i = 0; i < full; i += LANES) store(dx + i, s * (load(dy + i) - load(y + i) * along));
    if (rest)
      store(dx + full, s * (load(dy + full, rest) - load(y + full, rest) * along), rest);
  }
}
