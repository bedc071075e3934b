// A frozen model as the kernels read it: packed weights, tables, sizes. Built once, then only read.
//
// Letters: C channels.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <vector>

#include "buffer.hpp"
#include "scan.hpp"

namespace p59 {

struct Kernel;

inline void require(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(message);
}

// Outputs are worked on in blocks of 16 (one 512-bit or two 256-bit vectors of sums), inputs in pairs (what one 32-bit
// lane of the multiply-add instructions takes).
constexpr int kBlock = 16;

// Most pixels that go through the network together.
constexpr int kBatch = 48;

constexpr int kMaxMixtures = 10;
constexpr int kMaxChannels = 3;
constexpr int kParities = 2;

// Numbers of models/fixed_point.py and models/frozen.py. Fixed here so that the compiler sees them; the Python side
// compares them with its own before it uses this module.
constexpr int kLeakyMultiplier = 20992, kLeakyPreshift = 6;
constexpr int kLeakyShift = 15;  // that of the instructions vpmulhrsw and sqrdmulh
constexpr int kMeanBits = 6, kLogitBits = 8, kCrossBits = 12, kWeightBits = 12;
constexpr int kScaleStepBits = 4, kScaleSteps = 1 << kScaleStepBits, kScaleCount = 192;
constexpr int kMeanLowest = -(1 << 15), kMeanHighest = (1 << 15) + (1 << 14);
constexpr int kRawLimit = 1 << 20, kCrossLimit = 32767;
constexpr int kZStepBits = 6, kZLimit = 5 << 12, kZShift = 5;
constexpr int kPhiRound = 1 << 13, kPhiShift = 14;
constexpr int kTotalBits = 16, kTotal = 1 << kTotalBits;
constexpr int kNormalEntries = 2 * (kZLimit >> kZStepBits) + 1;

struct Layer {
    int inputs = 0, outputs = 0;
    int pairs = 0, blocks = 0;  // ceil(inputs / 2), ceil(outputs / 16)
    bool leaky = false, skip = false;
    Buffer<int16_t> weights;  // [block][pair][output in block][2]
    Buffer<int32_t> bias, shift;  // [block][output in block]
};

struct Tables {
    std::vector<int32_t> exp2;  // 256
    std::vector<int32_t> mantissas;  // 16
    std::vector<int32_t> thresholds;  // 191, and one that is never reached
    Buffer<int32_t> normal;  // [kNormalEntries] entry << 11 | difference to the next entry
    // First guess of the scale index, for each value's highest 6 bits; at most one threshold is in each such interval.
    std::vector<uint8_t> scale_guess;
};

struct Description {
    int channels = 0, mixtures = 0, limit = 0;
    bool relative_to_west = false, clamped_scales = false;
    bool parities = false;  // whether kParities inputs follow those of the taps: of row and column, -255 even, 255 odd
    Padding padding = Padding::zero;
};

struct Model : Description {
    std::vector<Layer> layers;
    Tables tables;
    const Kernel* kernel = nullptr;

    int taps = 0;  // inputs = taps * channels, and the parities
    int cross_terms = 0;  // C (C - 1) / 2
    int activation_stride = 0;  // int16 of one pixel in a layer's activations
    int output_stride = 0;  // int32 of one pixel in the network's outputs
    int mixture_stride = 0;  // int32 of one pixel's mixture, see mixture.hpp
    int64_t macs = 0;  // multiply-accumulates of one pixel

    // Throws std::invalid_argument where layers, tables and description do not belong together.
    Model(Description description, std::vector<Layer> layers, Tables tables);

    int reference_offset() const { return 4 * channels * mixtures + cross_terms * mixtures; }
};

// weights row-major (outputs, inputs); bias and shift (outputs,).
Layer pack_layer(const int16_t* weights, const int32_t* bias, const uint8_t* shift, int outputs, int inputs, bool leaky,
                 bool skip);

// Throws std::invalid_argument where a table is not of its size or not increasing.
Tables pack_tables(std::vector<int32_t> exp2, std::vector<int32_t> mantissas, std::vector<int32_t> thresholds,
                   const std::vector<int32_t>& normal);

// Work area of one thread for one batch.
struct Workspace {
    Buffer<int16_t> activations[3];  // [kBatch][activation_stride]
    Buffer<int32_t> outputs;  // [kBatch][output_stride]

    explicit Workspace(const Model& model)
        : activations{Buffer<int16_t>(size_t(kBatch) * model.activation_stride),
                      Buffer<int16_t>(size_t(kBatch) * model.activation_stride),
                      Buffer<int16_t>(size_t(kBatch) * model.activation_stride)},
          outputs(size_t(kBatch) * model.output_stride) {}
};

}  // namespace p59
