// Images whose network is evaluated elsewhere, on a GPU say: contexts go out, network outputs come back.
//
// A turn takes the outputs of the pixels whose contexts were gathered before, codes these pixels, and gathers the next:
// one step where values are decoded, a block of steps where they are known. Many images take their turns together.
// Letters: N or n pixels, I network inputs, K network outputs.
#pragma once

#include <memory>
#include <stdexcept>
#include <utility>

#include "codec.hpp"
#include "pool.hpp"

namespace p59 {

// One image on its way. Throws std::invalid_argument where it is used out of turn.
class StepCoder {
public:
    StepCoder(const Task& task, int lookahead);
    virtual ~StepCoder() = default;

    const Model& model() const { return model_; }
    bool finished() const { return taken_ == gathered_ && step_ == scan_.steps(); }
    // Blocks that may be gathered before the first of them is taken.
    int lookahead() const { return int(slots_.size()); }
    // Pixels that are gathered next, 0 after the last; and the most there ever are.
    int64_t upcoming() const { return step_ < scan_.steps() ? pixels_until(end_of_block()) : 0; }
    virtual int64_t most() const = 0;
    // Pixels that are taken next.
    int64_t awaited() const { return taken_ < gathered_ ? int64_t(slots_[taken_ % lookahead()].pixels.size()) : 0; }

    // Contexts of the upcoming pixels -> inputs (n, I).
    void gather(int16_t* inputs);
    // outputs (n, K) of the pixels gathered longest ago.
    void take(const int32_t* outputs);

protected:
    // Steps [begin, end), their pixels in the order of steps and rows, and the mixtures of these.
    struct Slot {
        int64_t begin = 0, end = 0;
        std::vector<uint8_t*> pixels;
        Buffer<int32_t> mixtures;
    };

    virtual int64_t end_of_block() const = 0;
    virtual void code(Slot& slot) = 0;

    int64_t step_pixels(int64_t step) const { return scan_.end_row(step) - scan_.first_row(step); }
    int64_t pixels_until(int64_t end) const;
    void skip_empty_steps();

    const Model& model_;
    const Scan scan_;
    Canvas canvas_;
    const Reading reading_;
    Workspace work_;
    std::vector<Slot> slots_;
    int64_t step_ = 0, gathered_ = 0, taken_ = 0;
};

class StepDecoder : public StepCoder {
public:
    StepDecoder(const Task& task, std::vector<uint8_t> stream);
    int64_t most() const override { return scan_.longest_step(); }
    int64_t height() const { return scan_.height; }
    int64_t width() const { return scan_.width; }
    void copy_to(uint8_t* image) const { canvas_.copy_to(image); }

private:
    int64_t end_of_block() const override { return step_ + 1; }
    void code(Slot& slot) override;

    const std::vector<uint8_t> stream_;
    ArithmeticDecoder decoder_;
    Buffer<Prepared> prepared_;
};

class StepEncoder : public StepCoder {
public:
    // `pixels`: blocks have at least so many, but for the last.
    StepEncoder(const Task& task, const uint8_t* image, int64_t pixels);
    int64_t most() const override { return pixels_ + scan_.longest_step(); }
    // Once, when all is taken.
    std::vector<uint8_t> finish() {
        if (!finished() || std::exchange(given_, true)) throw std::invalid_argument("stream: not whole yet, or given");
        return encoder_.finish();
    }

private:
    int64_t end_of_block() const override;
    void code(Slot& slot) override;

    const int64_t pixels_;
    ArithmeticEncoder encoder_;
    std::vector<uint32_t> intervals_;
    bool given_ = false;
};

// A turn of several images of models with the same I and K. `awaited[i]` of image i's pixels are in outputs (N, K), one
// image after the other; none for an image's first turns. Contexts go to inputs in the same way. Returns how many of each.
std::vector<int64_t> advance(const std::vector<StepCoder*>& coders, const std::vector<int64_t>& awaited,
                             const int32_t* outputs, int16_t* inputs, Pool& pool);

}  // namespace p59
