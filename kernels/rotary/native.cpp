// Rotary embedding. The channels of half a head are the inner loop, which the compiler cuts into
// vectors; its length is known for the usual widths.
#include "../_lanes.h"

template <int64_t HALF>
static void turn(const float* x, const float* cos, const float* sin, float* y, int64_t B, int64_t T,
                 int64_t H, int64_t width, int64_t row, int64_t token, int64_t head, float sign) {
  const int64_t half = HALF ? HALF : width;
  for (int64_t b = 0; b < B; b++)
    for (int64_t t = 0; t < T; t++) {
      const float *c = cos + t * half, *s = sin + t * half;
      for (int64_t h = 0; h < H; h++, y += 2 * half) {
        const float* from = x + b * row + t * token + h * head;
        for (int64_t m = 0; m < half; m++) {
          const float low = from[m], high = from[m + half], along = sign * s[m];
          y[m] = low * c[m] - high * along;
          y[m + half] = high * c[m] + low * along;
        }
      }
    }
}

// x [B,T,H,2 half] with these strides; cos, sin [T,half]; y dense. sign -1 turns back.
extern "C" void rotate(const float* x, const float* cos, const float* sin, float* y, int64_t B,
                       int64_t T, int64_t H, int64_t half, int64_t row, int64_t token, int64_t head,
                       float sign) {
  auto run = half == 4    ? turn<4>
             : half == 8  ? turn<8>
             : half == 16 ? turn<16>
             : half == 32 ? turn<32>
                          : turn<0>;
  run(x, cos, sin, y, B, T, H, half, row, token, head, sign);
}
