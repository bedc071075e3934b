// Scan orders and the canvas, as coders/scan.py and models/neighbourhood.py define them.
//
// time = delay * row + column; the pixels of equal time are a step. H, W image size, C channels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "buffer.hpp"

namespace p59 {

struct Scan {
    int64_t height, width, delay;

    int64_t steps() const { return width + delay * (height - 1); }
    int64_t first_row(int64_t step) const { return step < width ? 0 : (step - width) / delay + 1; }
    int64_t end_row(int64_t step) const { return std::min(height, step / delay + 1); }
    int64_t column(int64_t step, int64_t row) const { return step - delay * row; }
    // No step has more pixels than this.
    int64_t longest_step() const { return std::min(height, (width - 1) / delay + 1); }
};

struct Tap {
    int row, column;
};

// How contexts are read off a canvas: byte offsets of the taps, and which of them is the west pixel; where the pixel at
// (0, 0) stands, and the bytes from one row to the next.
struct Reading {
    std::vector<int64_t> offsets;
    int west;
    const uint8_t* origin;
    int64_t stride;
};

enum class Padding { zero, edge, diagonal };

// A padded image, filled at once or pixel by pixel; unless it is zero, the border continues the pixels already put. Cells
// that no tap reads, as the last ones below the image, hold anything.
class Canvas {
public:
    static constexpr int kTop = 3, kBottom = 1, kSide = 3, kMidGrey = 128;

    Canvas(int64_t height, int64_t width, int channels, Padding padding)
        : height_(height), width_(width), channels_(channels), padding_(padding),
          stride_((width + 2 * kSide) * channels) {
        // Rows a multiple of a memory page apart would fall into the same cache sets, and a step touches many rows.
        if (stride_ % 1024 < 64) stride_ += 192;
        bytes_ = Buffer<uint8_t>(uint64_t(kTop + height + kBottom) * stride_ + 64);
        if (padding == Padding::zero) return;
        std::memset(bytes_.data(), kMidGrey, size_t(kTop) * stride_);
        for (int row = 0; row < kSide && row < height + kBottom; ++row)
            std::memset(pixel(row, -kSide), kMidGrey, kSide * channels);
    }

    uint8_t* pixel(int64_t row, int64_t column) {
        return bytes_.data() + (row + kTop) * stride_ + (column + kSide) * channels_;
    }
    const uint8_t* pixel(int64_t row, int64_t column) const { return const_cast<Canvas*>(this)->pixel(row, column); }

    Reading reading(const std::vector<Tap>& taps, int west) const {
        std::vector<int64_t> offsets;
        for (Tap tap : taps) offsets.push_back(tap.row * stride_ + tap.column * channels_);
        return {std::move(offsets), west, pixel(0, 0), stride_};
    }

    // The border cells that continue the pixel at (row, column), which has just been put.
    void continue_border(int64_t row, int64_t column) {
        if (padding_ == Padding::zero) return;
        const uint8_t* value = pixel(row, column);
        if (column == width_ - 1) repeat(pixel(row, width_), value);
        if (padding_ == Padding::edge) {
            if (column == 0 && row + 1 < height_) repeat(pixel(row + 1, -kSide), value);
            return;
        }
        if (column == 0)
            for (int distance = 1; distance <= kSide && row + distance < height_ + kBottom; ++distance)
                std::memcpy(pixel(row + distance, -distance), value, channels_);
        if (row == height_ - 1)
            for (int distance = 1; distance <= kBottom && distance <= column; ++distance)
                std::memcpy(pixel(row + distance, column - distance), value, channels_);
    }

    void fill(const uint8_t* image) {
        for (int64_t row = 0; row < height_; ++row) {
            std::memcpy(pixel(row, 0), image + row * width_ * channels_, width_ * channels_);
            continue_border(row, 0);
            if (width_ > 1) continue_border(row, width_ - 1);
        }
        for (int64_t column = 1; column + 1 < width_; ++column) continue_border(height_ - 1, column);
    }

    void copy_to(uint8_t* image) const {
        for (int64_t row = 0; row < height_; ++row)
            std::memcpy(image + row * width_ * channels_, pixel(row, 0), width_ * channels_);
    }

private:
    void repeat(uint8_t* cells, const uint8_t* value) {
        for (int cell = 0; cell < kSide; ++cell) std::memcpy(cells + cell * channels_, value, channels_);
    }

    int64_t height_, width_;
    int channels_;
    Padding padding_;
    int64_t stride_;
    Buffer<uint8_t> bytes_;
};

}  // namespace p59
