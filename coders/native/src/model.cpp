#include "model.hpp"

#include <algorithm>
#include <bit>
#include <stdexcept>

#include "mixture.hpp"

namespace p59 {

Layer pack_layer(const int16_t* weights, const int32_t* bias, const uint8_t* shift, int outputs, int inputs, bool leaky,
                 bool skip) {
    require(outputs >= 1 && inputs >= 1 && outputs <= 1 << 16 && inputs <= 1 << 16, "layer: sizes are not in 1..65536");
    Layer layer;
    layer.inputs = inputs;
    layer.outputs = outputs;
    layer.pairs = (inputs + 1) / 2;
    layer.blocks = (outputs + kBlock - 1) / kBlock;
    layer.leaky = leaky;
    layer.skip = skip;
    layer.weights = Buffer<int16_t>(size_t(layer.blocks) * layer.pairs * kBlock * 2);
    layer.bias = Buffer<int32_t>(size_t(layer.blocks) * kBlock);
    layer.shift = Buffer<int32_t>(size_t(layer.blocks) * kBlock);
    for (int output = 0; output < outputs; ++output) {
        require(shift[output] <= 31, "layer: a shift is above 31");
        layer.bias[output] = bias[output];
        layer.shift[output] = shift[output];
        for (int input = 0; input < inputs; ++input) {
            size_t pair = size_t(output / kBlock) * layer.pairs + input / 2;
            layer.weights[(pair * kBlock + output % kBlock) * 2 + input % 2] = weights[size_t(output) * inputs + input];
        }
    }
    return layer;
}

Tables pack_tables(std::vector<int32_t> exp2, std::vector<int32_t> mantissas, std::vector<int32_t> thresholds,
                   const std::vector<int32_t>& normal) {
    require(exp2.size() == 1 << kLogitBits, "tables: exp2 must have 256 entries");
    require(mantissas.size() == kScaleSteps, "tables: mantissas must have 16 entries");
    require(thresholds.size() == kScaleCount - 1, "tables: scale thresholds must have 191 entries");
    require(normal.size() == kNormalEntries + 1, "tables: the normal CDF must have 642 entries");
    Tables tables;
    for (int32_t entry : exp2) require(entry >= 0 && entry <= 1 << 15, "tables: an exp2 entry is out of range");
    require(exp2[0] == 1 << 15, "tables: exp2 must start with 2**15");
    for (int32_t entry : mantissas) require(entry > 0 && entry < 1 << 15, "tables: a mantissa is out of range");
    tables.exp2 = std::move(exp2);
    tables.mantissas = std::move(mantissas);

    tables.normal = Buffer<int32_t>(kNormalEntries);
    for (int i = 0; i < kNormalEntries; ++i) {
        int32_t difference = normal[i + 1] - normal[i];
        require(normal[i] >= 0 && normal[i] <= 4 * (kTotal - 256) && difference >= 0 && difference < 1 << kDifferenceBits,
                "tables: the normal CDF is out of range");
        tables.normal[i] = normal[i] << kDifferenceBits | difference;
    }

    thresholds.push_back(INT32_MAX);
    require(std::is_sorted(thresholds.begin(), thresholds.end()) && thresholds.front() >= 1 << kGuessBits &&
                thresholds[kScaleCount - 2] < 1 << kGuessOctaves,
            "tables: the scale thresholds are out of range");
    for (int octave = 0; octave < kGuessOctaves; ++octave) {
        for (int step = 0; step < 1 << kGuessBits; ++step) {
            int64_t first = octave < kGuessBits ? 0 : int64_t((1 << kGuessBits) + step) << (octave - kGuessBits);
            int64_t end = octave < kGuessBits ? 1 << kGuessBits
                                              : int64_t((1 << kGuessBits) + step + 1) << (octave - kGuessBits);
            auto below = std::upper_bound(thresholds.begin(), thresholds.end(), first) - thresholds.begin();
            auto within = std::upper_bound(thresholds.begin(), thresholds.end(), end - 1) - thresholds.begin();
            require(within - below <= 1, "tables: the scale thresholds are too close to each other");
            tables.scale_guess.push_back(uint8_t(below));
        }
    }
    tables.thresholds = std::move(thresholds);
    return tables;
}

Model::Model(Description description, std::vector<Layer> given, Tables given_tables)
    : Description(description), layers(std::move(given)), tables(std::move(given_tables)) {
    require(channels == 1 || channels == 3, "model: channels must be 1 or 3");
    require(mixtures >= 1 && mixtures <= kMaxMixtures, "model: mixtures must be 1 to 10");
    require(limit >= 1 && limit <= INT16_MAX, "model: the activation limit must be in 1..32767");
    require(layers.size() >= 2, "model: at least two layers");
    cross_terms = channels * (channels - 1) / 2;
    const int of_taps = layers.front().inputs - (parities ? kParities : 0);
    require(of_taps > 0 && of_taps % channels == 0, "model: inputs must be taps times channels, and parities");
    taps = of_taps / channels;
    require(layers.back().outputs == (3 * channels + cross_terms) * mixtures, "model: outputs do not fit mixtures");
    require(!layers.front().skip && !layers.back().skip && !layers.back().leaky, "model: layer roles");
    int widest = 0;
    for (size_t i = 0; i < layers.size(); ++i) {
        require(i == 0 || layers[i].inputs == layers[i - 1].outputs, "model: layers do not follow each other");
        require(!layers[i].skip || (i >= 2 && layers[i].outputs == layers[i - 1].inputs), "model: a skip does not fit");
        widest = std::max({widest, layers[i].inputs, i + 1 < layers.size() ? layers[i].blocks * kBlock : 0});
        macs += int64_t(layers[i].inputs) * layers[i].outputs;
    }
    activation_stride = (widest + kBlock - 1) / kBlock * kBlock;
    output_stride = layers.back().blocks * kBlock;
    mixture_stride = (reference_offset() + channels + 15) / 16 * 16;
}

}  // namespace p59
