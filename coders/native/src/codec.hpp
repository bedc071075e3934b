// Images to streams and back: the counterpart of coders/codec.py.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernel.hpp"
#include "model.hpp"
#include "scan.hpp"
#include "threads.hpp"

namespace p59 {

// Nanoseconds of thread time, added up over threads. Measured only where asked for.
struct Counters {
    int64_t network = 0, mixture = 0, coder = 0;

    Counters& operator+=(const Counters& other) {
        network += other.network;
        mixture += other.mixture;
        coder += other.coder;
        return *this;
    }
};

// Adds the time from construction to destruction to `*total`; does nothing for null.
class Stopwatch {
public:
    explicit Stopwatch(int64_t* total) : total_(total) {
        if (total) start_ = Clock::now();
    }
    Stopwatch(const Stopwatch&) = delete;
    Stopwatch& operator=(const Stopwatch&) = delete;
    ~Stopwatch() {
        if (total_) *total_ += std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start_).count();
    }

private:
    int64_t* total_;
    Clock::time_point start_;
};

struct Task {
    const Model& model;
    Scan scan;
    std::vector<Tap> taps;  // as the order reads them
    int west;  // index of the west pixel in taps; any index where the model is not relative to it
    int threads;
    std::function<void()> check;  // called now and then on the calling thread; throws to stop
    Counters* counters;  // or null
};

// image (H, W, C) -> stream
std::vector<uint8_t> encode(const Task& task, const uint8_t* image);

// stream -> image (H, W, C). Any bytes decode to some image.
void decode(const Task& task, const uint8_t* stream, size_t size, uint8_t* image);

// image (H, W, C) -> c_high - c_low of every sub-pixel, (H, W, C)
void measure(const Task& task, const uint8_t* image, uint32_t* shares);

// The same of `count` images that follow each other, each of them the work of one thread: for small ones. Of each, the
// pixels at least `margin` from its sides: (H - 2 margin, W - 2 margin, C).
void measure_pieces(const Task& task, const uint8_t* images, int64_t count, int64_t margin, uint32_t* shares);

// Contexts of n <= kBatch pixels through the network to mixtures; the part of the work that threads share.
inline void evaluate(const Model& model, const Reading& reading, const uint8_t* const* pixels, int n, Workspace& work,
                     int32_t* mixtures, Counters* counters) {
    const Kernel& kernel = *model.kernel;
    {
        Stopwatch watch(counters ? &counters->mixture : nullptr);
        kernel.gather(model, reading, pixels, n, work.activations[0].data(), mixtures);
    }
    {
        Stopwatch watch(counters ? &counters->network : nullptr);
        kernel.network(model, work, n);
    }
    Stopwatch watch(counters ? &counters->mixture : nullptr);
    kernel.mixtures(model, work.outputs.data(), n, mixtures);
}

}  // namespace p59
