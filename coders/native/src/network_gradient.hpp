// Gradients over an instruction set's primitives: three kinds of product of matrices, all made by the tile of
// matrix_product.hpp. Forward, its rows are pixels and its vectors outputs; backward, rows are pixels and vectors inputs; for
// the weights' gradient rows are inputs, vectors outputs, and pixels are what is summed over.
//
// Beside what matrix_product.hpp lists an instruction set `Isa` provides
//
//     Element element(value)              rounded to nearest, ties to even
//     Sums load_sums(p), void store_sums(p, sums), Sums all(value)
//     Sums load_elements(p), void store_elements(p, sums)   16 elements
//     Sums add(a, b), multiply(a, b), larger(a, b)
//     Sums leaky_slope(activations, sums) sums, times kLeakySlope where an activation is not above 0
//     void interleave(a, b, to)           kGroup = 2: 16 elements of a and of b in turn
#pragma once

#include <algorithm>
#include <cstring>

#include "gradients.hpp"
#include "inline.hpp"
#include "matrix_product.hpp"
#include "mixture_gradient.hpp"

namespace p59 {

template <class Isa>
class GradientsOf final : public Gradients {
    using Element = typename Isa::Element;
    using Sums = typename Isa::Sums;
    static constexpr int kGroup = Isa::kGroup, kVector = 16;

public:
    GradientsOf(const FloatNetwork& network, int threads) : network_(network), work_(threads) {
        int widest = 0;
        for (const FloatLayer& layer : network.layers) {
            const uint64_t size = uint64_t(layer.outputs()) * layer.inputs();
            packed_.push_back({Buffer<Element>(size), Buffer<Element>(size), Buffer<float>(layer.outputs())});
            widest = std::max({widest, layer.outputs(), layer.inputs()});
        }
        const uint64_t plane = uint64_t(kMostPixelsOfGradient) * widest;
        for (Work& work : work_) {
            for (const FloatLayer& layer : network.layers) {
                work.activations.emplace_back(uint64_t(kMostPixelsOfGradient) * layer.inputs());
                work.weight_gradients.emplace_back(uint64_t(layer.outputs()) * layer.inputs());
                work.bias_gradients.emplace_back(layer.outputs());
            }
            for (Buffer<Element>& buffer : work.slopes) buffer = Buffer<Element>(plane);
            for (Buffer<Element>& buffer : work.interleaved) buffer = Buffer<Element>(plane);
            work.outputs = Buffer<float>(uint64_t(kMostPixelsOfGradient) * network.layers.back().outputs());
            work.derivatives = Buffer<float>(uint64_t(kMostPixelsOfGradient) * network.layers.back().outputs());
        }
        for (int value = -kLargestInput; value <= kLargestInput; ++value)
            inputs_[value + kLargestInput] = Isa::element(float(value));
    }

    void set_layer(int index, const float* weights, const float* biases) override {
        const FloatLayer& layer = network_.layers[index];
        Packed& packed = packed_[index];
        std::copy_n(biases, layer.used_outputs, packed.biases.data());
        const int rows = layer.used_outputs, columns = layer.used_inputs;
        pack(weights, columns, 1, rows, columns, layer.inputs(), packed.forward.data());
        pack(weights, 1, columns, columns, rows, layer.outputs(), packed.backward.data());
    }

    void clear(int thread) override {
        Work& work = work_[thread];
        work.bits = 0;
        for (auto* buffers : {&work.weight_gradients, &work.bias_gradients})
            for (Buffer<float>& buffer : *buffers) std::memset(buffer.data(), 0, buffer.size() * sizeof(float));
    }

    void add(int thread, const Offsets& offsets, const Pixels& pixels, int n) override {
        Work& work = work_[thread];
        const int layers = int(network_.layers.size());
        gather(work, offsets, pixels, n);
        for (int index = 0; index < layers; ++index) forward(work, index, n);
        lose(work, offsets, pixels, n);
        for (int index = layers - 1; index >= 0; --index) {
            weights_gradient(work, index, n);
            if (index) backward(work, index, n);
        }
    }

    void sum() override {
        Work& total = work_.front();
        for (size_t thread = 1; thread < work_.size(); ++thread) {
            total.bits += work_[thread].bits;
            for (size_t layer = 0; layer < packed_.size(); ++layer) {
                add_to(total.weight_gradients[layer], work_[thread].weight_gradients[layer]);
                add_to(total.bias_gradients[layer], work_[thread].bias_gradients[layer]);
            }
        }
    }

    double bits() const override { return work_.front().bits; }
    const float* weight_gradient(int layer) const override { return work_.front().weight_gradients[layer].data(); }
    const float* bias_gradient(int layer) const override { return work_.front().bias_gradients[layer].data(); }

private:
    static constexpr int kAhead = 16;
    // Inputs are differences of two values of 8 bits, or 2 * value - 255.
    static constexpr int kLargestInput = 255;

    // forward: [block of 16 outputs][group of inputs][output][input of the group]; backward with the two exchanged.
    struct Packed {
        Buffer<Element> forward, backward;
        Buffer<float> biases;
    };
    // What enters each layer, [pixel][input]; derivatives of its sums, [pixel][output], which of layer i stand in
    // slopes[i % 3], since a skip needs them two layers further.
    struct Work {
        std::vector<Buffer<Element>> activations;
        Buffer<Element> slopes[3], interleaved[2];
        Buffer<float> outputs, derivatives;
        std::vector<Buffer<float>> weight_gradients, bias_gradients;
        double bits = 0;
    };

    static int blocks_of(int numbers) { return (numbers + kVector - 1) / kVector; }
    static int groups_of(int numbers) { return (numbers + kGroup - 1) / kGroup; }

    // What lies beyond rows and columns stays 0.
    static void pack(const float* weights, size_t row_stride, size_t column_stride, int rows, int columns,
                     size_t width, Element* to) {
        for (int row = 0; row < rows; ++row)
            for (int column = 0; column < columns; ++column) {
                const size_t group = row / kVector * (width / kGroup) + column / kGroup;
                to[(group * kVector + row % kVector) * kGroup + column % kGroup] =
                    Isa::element(weights[row * row_stride + column * column_stride]);
            }
    }

    static void add_to(Buffer<float>& total, const Buffer<float>& part) {
        for (size_t place = 0; place < total.size(); ++place) total[place] += part[place];
    }

    void gather(Work& work, const Offsets& offsets, const Pixels& pixels, int n) const {
        const int channels = network_.channels, stride = network_.layers[0].inputs();
        const Element* const table = inputs_ + kLargestInput;
        for (int i = 0; i < n; ++i) {
            if (i + kAhead < n)  // pixels are anywhere in memory
                for (int64_t offset : offsets.taps) __builtin_prefetch(pixels.contexts[i + kAhead] + offset);
            const uint8_t* context = pixels.contexts[i];
            const uint8_t* west = context + offsets.taps[offsets.west];
            Element* inputs = work.activations[0].data() + size_t(i) * stride;
            for (int tap = 0; tap < network_.taps; ++tap) {
                const uint8_t* values = context + offsets.taps[tap];
                for (int c = 0; c < channels; ++c) {
                    const int value = !network_.relative_to_west ? values[c]
                                      : tap == offsets.west      ? 2 * values[c] - 255
                                                                 : values[c] - west[c];
                    *inputs++ = table[value];
                }
            }
            if (network_.parities)
                for (bool odd : pixels.odd[i]) *inputs++ = table[odd ? 255 : -255];
        }
    }

    void forward(Work& work, int index, int n) const {
        const FloatLayer& layer = network_.layers[index];
        const Packed& packed = packed_[index];
        const Product<Isa> product{work.activations[index].data(),
                                   size_t(layer.inputs()),
                                   kGroup,
                                   packed.forward.data(),
                                   size_t(layer.inputs()) * kVector,
                                   kGroup * kVector,
                                   groups_of(layer.used_inputs)};
        const float* biases = packed.biases.data();
        const auto start = [=](int, int block) P59_INLINE { return Isa::load_sums(biases + block * kVector); };
        const int blocks = blocks_of(layer.used_outputs);
        const size_t stride = layer.outputs();
        if (index + 1 == int(network_.layers.size())) {
            float* outputs = work.outputs.data();
            product.run(n, blocks, start, [=](int row, int block, Sums sums) P59_INLINE {
                Isa::store_sums(outputs + row * stride + block * kVector, sums);
            });
            return;
        }
        Element* leaving = work.activations[index + 1].data();
        const Element* entered = index ? work.activations[index - 1].data() : nullptr;
        const bool leaky = layer.leaky, skip = layer.skip;
        product.run(n, blocks, start, [=](int row, int block, Sums sums) P59_INLINE {
            const size_t place = row * stride + block * kVector;
            if (leaky) sums = Isa::larger(sums, Isa::multiply(sums, Isa::all(float(kLeakySlope))));
            if (skip) sums = Isa::add(sums, Isa::load_elements(entered + place));
            Isa::store_elements(leaving + place, sums);
        });
    }

    // Outputs -> bits, and the derivatives of the last layer's sums.
    void lose(Work& work, const Offsets& offsets, const Pixels& pixels, int n) const {
        const int stride = network_.layers.back().outputs();
        const uint8_t* wests[kMostPixelsOfGradient];
        for (int i = 0; i < n; ++i) wests[i] = pixels.contexts[i] + offsets.taps[offsets.west];
        for (int first = 0; first < n; first += kLanes)
            work.bits += mixture_gradient(network_, work.outputs.data() + size_t(first) * stride, stride,
                                          pixels.values + first, wests + first, std::min(kLanes, n - first),
                                          work.derivatives.data() + size_t(first) * stride);
        Element* slopes = work.slopes[(network_.layers.size() - 1) % 3].data();
        for (size_t place = 0; place < size_t(n) * stride; place += kVector)
            Isa::store_elements(slopes + place, Isa::load_sums(work.derivatives.data() + place));
    }

    void weights_gradient(Work& work, int index, int n) const {
        const FloatLayer& layer = network_.layers[index];
        Element *inputs = work.activations[index].data(), *slopes = work.slopes[index % 3].data();
        const int blocks = blocks_of(layer.used_outputs);
        for (int block = 0; block < blocks; ++block) {
            float* sums = work.bias_gradients[index].data() + block * kVector;
            Sums total = Isa::load_sums(sums);
            for (int i = 0; i < n; ++i)
                total = Isa::add(total, Isa::load_elements(slopes + size_t(i) * layer.outputs() + block * kVector));
            Isa::store_sums(sums, total);
        }
        int groups = n;
        if constexpr (kGroup == 2) {
            if (n % 2) {  // the last pixel's companion
                std::memset(inputs + size_t(n) * layer.inputs(), 0, layer.inputs() * sizeof(Element));
                std::memset(slopes + size_t(n) * layer.outputs(), 0, layer.outputs() * sizeof(Element));
            }
            groups = (n + 1) / 2;
            inputs = interleaved(inputs, layer.inputs(), groups, work.interleaved[0].data());
            slopes = interleaved(slopes, layer.outputs(), groups, work.interleaved[1].data());
        }
        const Product<Isa> product{inputs, kGroup, size_t(kGroup) * layer.inputs(), slopes, kGroup * kVector,
                                   size_t(kGroup) * layer.outputs(), groups};
        float* gradient = work.weight_gradients[index].data();
        const size_t stride = layer.outputs();
        product.run(
            layer.used_inputs, blocks,
            [=](int row, int block) P59_INLINE { return Isa::load_sums(gradient + row * stride + block * kVector); },
            [=](int row, int block, Sums sums) P59_INLINE {
                Isa::store_sums(gradient + row * stride + block * kVector, sums);
            });
    }

    // [pixel][place] -> [two pixels][place][pixel].
    static Element* interleaved(const Element* from, size_t width, int groups, Element* to) {
        if constexpr (kGroup == 2)
            for (int group = 0; group < groups; ++group)
                for (size_t place = 0; place < width; place += kVector) {
                    const Element* first = from + 2 * group * width + place;
                    Isa::interleave(first, first + width, to + 2 * (group * width + place));
                }
        return to;
    }

    // Derivatives of a layer's sums -> those of the layer before.
    void backward(Work& work, int index, int n) const {
        const FloatLayer &layer = network_.layers[index], &before = network_.layers[index - 1];
        const Product<Isa> product{work.slopes[index % 3].data(),
                                   size_t(layer.outputs()),
                                   kGroup,
                                   packed_[index].backward.data(),
                                   size_t(layer.outputs()) * kVector,
                                   kGroup * kVector,
                                   groups_of(layer.used_outputs)};
        const bool leaky = before.leaky;
        const bool skipped = index + 1 < int(network_.layers.size()) && network_.layers[index + 1].skip;
        const Element* activations = work.activations[index].data();
        const Element* beyond = work.slopes[(index + 1) % 3].data();
        Element* slopes = work.slopes[(index - 1) % 3].data();
        const size_t stride = layer.inputs();
        product.run(
            n, blocks_of(layer.used_inputs), [=](int, int) P59_INLINE { return Isa::all(0); },
            [=](int row, int block, Sums sums) P59_INLINE {
                const size_t place = row * stride + block * kVector;
                if (skipped) sums = Isa::add(sums, Isa::load_elements(beyond + place));
                if (leaky) sums = Isa::leaky_slope(Isa::load_elements(activations + place), sums);
                Isa::store_elements(slopes + place, sums);
            });
    }

    FloatNetwork network_;
    std::vector<Packed> packed_;
    std::vector<Work> work_;
    Element inputs_[2 * kLargestInput + 1];
};

template <class Isa>
static std::unique_ptr<Gradients> make_gradients(const FloatNetwork& network, int threads) {
    return std::make_unique<GradientsOf<Isa>>(network, threads);
}

}  // namespace p59
