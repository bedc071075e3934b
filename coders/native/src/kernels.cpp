// Which kernels this processor can run, and the check that a kernel computes what the portable one does.
#include <algorithm>

#include "kernel.hpp"

namespace p59 {

namespace {

// Small and the same everywhere (splitmix64).
class Random {
public:
    uint64_t next() {
        uint64_t z = state_ += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

private:
    uint64_t state_ = 59;
};

// A kernel's results for n pixels: outputs, mixtures, decoded values of random bytes, and these values' intervals.
struct Results {
    Workspace work;
    Buffer<int32_t> mixtures;
    uint8_t values[kBatch][kMaxChannels] = {};
    std::vector<uint32_t> intervals;
    ArithmeticDecoder decoder;

    Results(const Model& model, const Kernel& kernel, int n, uint64_t seed)
        : work(model), mixtures(size_t(kBatch) * model.mixture_stride), intervals(size_t(n) * model.channels) {
        Random random;
        for (uint64_t i = 0; i < seed; ++i) random.next();
        const int inputs = model.layers.front().inputs;
        uint8_t* pixels[kBatch];
        for (int i = 0; i < n; ++i) {
            int16_t* first = work.activations[0].data() + size_t(i) * model.activation_stride;
            for (int input = 0; input < inputs; ++input) first[input] = int16_t(random.next() % 511) - 255;
            for (int channel = 0; channel < model.channels; ++channel)
                mixtures[size_t(i) * model.mixture_stride + model.reference_offset() + channel] = random.next() % 256;
            pixels[i] = values[i];
        }
        kernel.network(model, work, n);
        kernel.mixtures(model, work.outputs.data(), n, mixtures.data());
        std::vector<uint8_t> stream(size_t(n) * 8);
        for (uint8_t& byte : stream) byte = uint8_t(random.next());
        decoder = start_decoding(stream.data(), stream.size());
        Prepared prepared[kBatch];
        for (int channel = 0; channel < model.channels; ++channel) {
            kernel.prepare(model, mixtures.data(), n, channel, pixels, prepared);
            kernel.find(model, decoder, mixtures.data(), prepared, n, channel, pixels);
        }
        kernel.intervals(model, mixtures.data(), n, pixels, intervals.data());
    }

    bool operator==(const Results& other) const {
        return std::equal(work.outputs.data(), work.outputs.data() + work.outputs.size(), other.work.outputs.data()) &&
               std::equal(mixtures.data(), mixtures.data() + mixtures.size(), other.mixtures.data()) &&
               std::equal(&values[0][0], &values[0][0] + sizeof values, &other.values[0][0]) &&
               intervals == other.intervals && decoder.interval.low == other.decoder.interval.low &&
               decoder.interval.high == other.decoder.interval.high && decoder.offset == other.decoder.offset;
    }
};

}  // namespace

std::vector<const Kernel*> available_kernels() {
    std::vector<const Kernel*> kernels{avx512vnni_kernel(), avxvnni_kernel(), avx2_kernel(), neon_kernel(),
                                       portable_kernel()};
    kernels.erase(std::remove(kernels.begin(), kernels.end(), nullptr), kernels.end());
    return kernels;
}

bool agrees_with_portable(const Model& model, const Kernel& kernel) {
    // Every tile size up to twice the largest; for very wide networks as many as take a fraction of a second.
    int64_t budget = 40'000'000;
    for (int n = 1; n <= 25 && (n <= 2 || budget > 0); ++n) {
        if (!(Results(model, *portable_kernel(), n, n) == Results(model, kernel, n, n))) return false;
        budget -= n * model.macs;
    }
    return true;
}

}  // namespace p59
