// Encoding and measuring: all pixels are known, so threads take blocks of steps as they come; streams are written in order.

#include <atomic>
#include <mutex>

#include "codec.hpp"

namespace p59 {

namespace {

// Consecutive steps [begin, end).
struct Block {
    int64_t number, begin, end;
};

// Hands out blocks of about `pixels` pixels.
class Blocks {
public:
    Blocks(Scan scan, int64_t pixels) : scan_(scan), pixels_(pixels) {}

    bool exhausted() const { return step_ >= scan_.steps(); }
    int64_t handed_out() const { return number_; }
    int64_t largest() const { return pixels_ + scan_.longest_step(); }

    Block take() {
        Block block{number_++, step_, step_};
        for (int64_t count = 0; block.end < scan_.steps() && count < pixels_; ++block.end)
            count += scan_.end_row(block.end) - scan_.first_row(block.end);
        step_ = block.end;
        return block;
    }

private:
    const Scan scan_;
    const int64_t pixels_;
    int64_t step_ = 0, number_ = 0;
};

// Large enough that threads seldom meet; small where pixels are expensive, so that an interrupt does not have to wait.
int64_t block_pixels(const Model& model) {
    return std::clamp<int64_t>((int64_t(1) << 27) / model.macs, kBatch, 4096);
}

// One thread's evaluation of blocks. `Sink` takes put(row, column, channel, interval) of each sub-pixel, in any order.
class BlockEvaluator {
public:
    BlockEvaluator(const Task& task, const Canvas& canvas)
        : task_(task),
          canvas_(canvas),
          reading_(canvas.reading(task.taps, task.west)),
          work_(task.model),
          mixtures_(size_t(kBatch) * task.model.mixture_stride) {}

    // Walks along rows, where neighbouring pixels share memory, although steps run across them.
    template <class Sink>
    void evaluate_block(const Block& block, Sink& sink) {
        const Scan& scan = task_.scan;
        const int64_t last_row = scan.end_row(block.end - 1);
        for (int64_t row = scan.first_row(block.begin); row < last_row; ++row) {
            const int64_t begin = std::max<int64_t>(0, scan.column(block.begin, row));
            const int64_t end = std::min(scan.width, scan.column(block.end, row));
            evaluate_row(row, begin, end, sink);
        }
        if (count_) flush(sink);
    }

    // All pixels that are at least `margin` pixels from the sides of the image.
    template <class Sink>
    void evaluate_inside(int64_t margin, Sink& sink) {
        for (int64_t row = margin; row < task_.scan.height - margin; ++row)
            evaluate_row(row, margin, task_.scan.width - margin, sink);
        if (count_) flush(sink);
    }

    Counters counters;

private:
    template <class Sink>
    void evaluate_row(int64_t row, int64_t begin, int64_t end, Sink& sink) {
        for (int64_t column = begin; column < end; ++column) {
            pixels_[count_] = canvas_.pixel(row, column);
            rows_[count_] = row;
            columns_[count_] = column;
            if (++count_ == kBatch) flush(sink);
        }
    }

    template <class Sink>
    void flush(Sink& sink) {
        const Model& model = task_.model;
        evaluate(model, reading_, pixels_, count_, work_, mixtures_.data(), task_.counters ? &counters : nullptr);
        Stopwatch watch(task_.counters ? &counters.coder : nullptr);
        model.kernel->intervals(model, mixtures_.data(), count_, pixels_, intervals_);
        for (int i = 0; i < count_; ++i) {
            for (int channel = 0; channel < model.channels; ++channel)
                sink.put(rows_[i], columns_[i], channel, intervals_[i * model.channels + channel]);
        }
        count_ = 0;
    }

    const Task& task_;
    const Canvas& canvas_;
    const Reading reading_;
    Workspace work_;
    Buffer<int32_t> mixtures_;
    int count_ = 0;
    const uint8_t* pixels_[kBatch];
    int64_t rows_[kBatch], columns_[kBatch];
    uint32_t intervals_[kBatch * kMaxChannels];
};

// Puts a block's sub-pixels into the order of the stream: step by step, in a step channel by channel, then by row.
class StreamOrder {
public:
    StreamOrder(const Scan& scan, int channels, int64_t largest) : scan_(scan), channels_(channels) {
        intervals_.resize(size_t(largest) * channels);
        steps_.resize(largest);
    }

    void start(const Block& block) {
        begin_ = block.begin;
        used_ = 0;
        // Where the image is narrower than the row delay, many steps are empty: a block then has more steps than pixels.
        steps_.resize(std::max(steps_.size(), size_t(block.end - block.begin)));
        for (int64_t step = block.begin; step < block.end; ++step) {
            const int64_t first = scan_.first_row(step), pixels = scan_.end_row(step) - first;
            steps_[step - begin_] = {used_ - first, pixels};
            used_ += pixels * channels_;
        }
    }

    void put(int64_t row, int64_t column, int channel, uint32_t interval) {
        const Step& step = steps_[scan_.delay * row + column - begin_];
        intervals_[step.offset + channel * step.pixels + row] = interval;
    }

    void write(ArithmeticEncoder& encoder) const {
        for (int64_t i = 0; i < used_; ++i) encoder.encode(intervals_[i] & 0xFFFF, (intervals_[i] >> 16) + 1);
    }

private:
    struct Step {
        int64_t offset, pixels;
    };

    const Scan scan_;
    const int channels_;
    int64_t begin_ = 0, used_ = 0;
    std::vector<uint32_t> intervals_;
    std::vector<Step> steps_;
};

// Threads claim blocks in order and evaluate them; whoever finds the next finished block writes it to the stream.
class Encoding {
public:
    Encoding(const Task& task, const Canvas& canvas)
        : task_(task), blocks_(task.scan, block_pixels(task.model)), finished_(2 * task.threads + 2) {
        for (size_t i = 0; i < finished_.size(); ++i)
            orders_.emplace_back(task.scan, task.model.channels, blocks_.largest());
        for (int i = 0; i < task.threads; ++i) evaluators_.emplace_back(task, canvas);
    }

    std::vector<uint8_t> run() {
        {
            std::atomic<bool> stop{false};
            Team team(task_.threads, [&](int index) { work(index, stop, [] {}); }, stop);
            Heartbeat heartbeat(task_.check);
            work(0, stop, [&] { heartbeat.beat(); });
            team.finish();
        }
        if (task_.counters)
            for (const BlockEvaluator& evaluator : evaluators_) *task_.counters += evaluator.counters;
        return encoder_.finish();
    }

private:
    template <class Beat>
    void work(int index, const std::atomic<bool>& stop, Beat beat) {
        Patience patience;
        Block block;
        while (!stop.load(std::memory_order_relaxed)) {
            beat();
            if (claim(block)) {
                StreamOrder& order = orders_[block.number % orders_.size()];
                order.start(block);
                evaluators_[index].evaluate_block(block, order);
                finished_[block.number % finished_.size()].store(block.number + 1, std::memory_order_release);
                write_finished(index);
                patience.reset();
            } else if (all_written()) {
                return;
            } else {
                write_finished(index);
                patience.wait();
            }
        }
    }

    bool claim(Block& block) {
        std::lock_guard lock(claiming_);
        if (blocks_.exhausted() || blocks_.handed_out() >= written_.load() + int64_t(orders_.size())) return false;
        block = blocks_.take();
        return true;
    }

    bool all_written() {
        std::lock_guard lock(claiming_);
        return blocks_.exhausted() && written_.load() == blocks_.handed_out();
    }

    void write_finished(int index) {
        std::unique_lock lock(writing_, std::try_to_lock);
        if (!lock) return;
        Stopwatch watch(task_.counters ? &evaluators_[index].counters.coder : nullptr);
        for (int64_t number = written_.load(); finished_[number % finished_.size()].load() == number + 1; ++number) {
            orders_[number % orders_.size()].write(encoder_);
            written_.store(number + 1);
        }
    }

    const Task& task_;
    Blocks blocks_;
    std::mutex claiming_, writing_;
    std::vector<std::atomic<int64_t>> finished_;  // block number + 1 that is finished in this place
    std::vector<StreamOrder> orders_;
    std::vector<BlockEvaluator> evaluators_;
    std::atomic<int64_t> written_{0};
    ArithmeticEncoder encoder_;
};

// Writes the share of each sub-pixel to its own place among those that are at least `margin` pixels from the sides.
struct Shares {
    uint32_t* shares;
    int64_t margin, width;  // `width` without the margin
    int channels;

    void put(int64_t row, int64_t column, int channel, uint32_t interval) {
        const int64_t pixel = (row - margin) * width + column - margin;
        shares[pixel * channels + channel] = (interval >> 16) + 1 - (interval & 0xFFFF);
    }
};

Canvas filled(const Task& task, const uint8_t* image) {
    Canvas canvas(task.scan.height, task.scan.width, task.model.channels, task.model.padding);
    canvas.fill(image);
    return canvas;
}

}  // namespace

std::vector<uint8_t> encode(const Task& task, const uint8_t* image) {
    const Canvas canvas = filled(task, image);
    Task own = task;
    // A thread more than there are blocks would be started for nothing.
    own.threads = int(std::clamp<int64_t>(task.scan.height * task.scan.width / block_pixels(task.model), 1, task.threads));
    return Encoding(own, canvas).run();
}

void measure(const Task& task, const uint8_t* image, uint32_t* shares) {
    const Canvas canvas = filled(task, image);
    Blocks blocks(task.scan, block_pixels(task.model));
    std::mutex claiming;
    std::atomic<bool> stop{false};
    std::vector<BlockEvaluator> evaluators;
    for (int i = 0; i < task.threads; ++i) evaluators.emplace_back(task, canvas);
    auto work = [&](int index, auto beat) {
        Shares sink{shares, 0, task.scan.width, task.model.channels};
        while (!stop.load(std::memory_order_relaxed)) {
            beat();
            Block block;
            {
                std::lock_guard lock(claiming);
                if (blocks.exhausted()) return;
                block = blocks.take();
            }
            evaluators[index].evaluate_block(block, sink);
        }
    };
    Heartbeat heartbeat(task.check);
    Team team(task.threads, [&](int index) { work(index, [] {}); }, stop);
    work(0, [&] { heartbeat.beat(); });
    team.finish();
}

void measure_pieces(const Task& task, const uint8_t* images, int64_t count, int64_t margin, uint32_t* shares) {
    const int64_t height = task.scan.height - 2 * margin, width = task.scan.width - 2 * margin;
    const int64_t samples = task.scan.height * task.scan.width * task.model.channels;
    std::atomic<int64_t> next{0};
    std::atomic<bool> stop{false};
    auto work = [&](auto beat) {
        while (!stop.load(std::memory_order_relaxed)) {
            beat();
            const int64_t index = next.fetch_add(1, std::memory_order_relaxed);
            if (index >= count) return;
            const Canvas canvas = filled(task, images + index * samples);
            BlockEvaluator evaluator(task, canvas);
            Shares sink{shares + index * height * width * task.model.channels, margin, width, task.model.channels};
            evaluator.evaluate_inside(margin, sink);
        }
    };
    Heartbeat heartbeat(task.check);
    Team team(int(std::min<int64_t>(task.threads, count)), [&](int) { work([] {}); }, stop);
    work([&] { heartbeat.beat(); });
    team.finish();
}

}  // namespace p59
