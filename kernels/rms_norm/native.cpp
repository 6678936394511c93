// RMSNorm. Lanes are neighbouring channels of one row, which is read from memory once and from the
// first cache after that. Sums over a row are taken in lanes and added at its end; channels beyond
// the last full vector are lanes that read 0.
#include "../_lanes.h"

// x, y [n,D], weight [D]; kept [n]: of every row 1 / sqrt(mean square + eps).
extern "C" void forward(const float* x, const float* weight, float* y, float* kept, int64_t n,
                        int64_t D, float eps) {
  const int64_t full = D / LANES * LANES, rest = D - full;
  for (int64_t row = 0; row < n; row++, x += D, y += D) {
    Lanes squares = {};
    for (int64_t i = 0; i < full; i += LANES) squares += load(x + i) * load(x + i);
    if (rest) squares += load(x + full, rest) * load(x + full, rest);
    const float r = kept[row] = 1.f / std::sqrt(sum(squares) / D + eps);
    for (int64_t i = 0; i < full; i += LANES) store(y + i, load(x + i) * r * load(weight + i));
    if (rest) store(y + full, load(x + full, rest) * r * load(weight + full, rest), rest);
  }
}

// dx [n,D]; dweight [D] or null, summed over the rows in their order.
//   g = dy weight     h = x r     dx = r (g - h mean(g h))     dweight = sum dy h
extern "C" void backward(const float* dy, const float* x, const float* weight, const float* kept,
                         float* dx, float* dweight, int64_t n, int64_t D) {
  const int64_t full = D / LANES * LANES, rest = D - full;
  if (dweight) std::memset(dweight, 0, D * sizeof(float));
  Lanes tail = {};  // of dweight: a narrow head has no other part
  for (int64_t row = 0; row < n; row++, x += D, dy += D, dx += D) {
    const float r = kept[row];
    Lanes along = {};
    for (int64_t i = 0; i < full; i += LANES) {
      const Lanes product = load(dy + i) * (load(x + i) * r);
      along += product * load(weight + i);
      if (dweight) store(dweight + i, load(dweight + i) + product);
    }
    if (rest) {
      const Lanes product = load(dy + full, rest) * (load(x + full, rest) * r);
      along += product * load(weight + full, rest);
      tail += product;
    }
    const float mean = sum(along) / D * r;
    for (int64_t i = 0; i < full; i += LANES)
      store(dx + i, r * (load(dy + i) * load(weight + i) - load(x + i) * mean));
    if (rest)
      store(dx + full,
            r * (load(dy + full, rest) * load(weight + full, rest) - load(x + full, rest) * mean),
            rest);
  }
  if (dweight && rest) store(dweight + full, tail, rest);
}
