// Decoding: the calling thread takes symbols off the stream in their order, all threads evaluate the network ahead.
//
// A step's pixels depend on earlier steps only, and in the step just before on no row below their own. Its last channel is
// decoded from the first row to the last, so that the network of the next step can follow some rows behind:
//
//     stream    | R of step t | G | B ------------> | R of step t+1 | G | B ...
//     network                       step t+1 -------->
//
// Steps are cut into chunks of rows. `next_` is the chunk that nobody has claimed yet, `coded_` how far the stream has got,
// `done_` which chunks have their mixtures. A chunk is claimed only when all it depends on is coded, by whichever thread
// is free; the stream's thread does so too while it has to wait.

#include <atomic>

#include "codec.hpp"

namespace p59 {

namespace {

class Decoding {
public:
    Decoding(const Task& task, const uint8_t* stream, size_t size)
        : task_(task),
          model_(task.model),
          scan_(task.scan),
          canvas_(scan_.height, scan_.width, model_.channels, model_.edge_padding),
          reading_{canvas_.offsets(task.taps), task.west},
          threads_(useful_threads(task)),
          chunk_(chunk_pixels(scan_.longest_step(), threads_)),
          decoder_(start_decoding(stream, size)) {
        const int64_t longest = scan_.longest_step();
        for (Slot& slot : slots_) {
            slot.mixtures = Buffer<int32_t>(size_t(longest) * model_.mixture_stride);
            slot.pixels.resize(longest);
            slot.done = std::vector<std::atomic<int64_t>>((longest + chunk_ - 1) / chunk_);
        }
        for (int i = 0; i < threads_; ++i) workspaces_.emplace_back(model_);
        counters_.resize(threads_);
    }

    void run(uint8_t* image) {
        {
            std::atomic<bool> stop{false};
            Team team(threads_, [&](int index) { follow(index, stop); }, stop);
            Heartbeat heartbeat(task_.check);
            for (int64_t step = 0; step < scan_.steps(); ++step) code(step, heartbeat);
        }
        canvas_.copy_to(image);
        if (task_.counters)
            for (const Counters& counters : counters_) *task_.counters += counters;
    }

private:
    // What is known of a step's pixels; two steps are under way at a time, in slots of their parity.
    struct Slot {
        Buffer<int32_t> mixtures;
        std::vector<uint8_t*> pixels;
        std::vector<std::atomic<int64_t>> done;  // step + 1 for which a chunk is done
    };

    // Multiply-accumulates, well below a millisecond of them; reading the clock for every pixel would be felt.
    static constexpr int64_t kWorkBetweenBeats = 1 << 22;

    // Waking another thread costs more than a few pixels.
    static int useful_threads(const Task& task) {
        return int(std::clamp<int64_t>(task.scan.longest_step() / 8, 1, task.threads));
    }

    // Small chunks share the work of a step evenly, larger ones use weights more often.
    static int chunk_pixels(int64_t longest, int threads) {
        return threads == 1 ? kBatch : int(std::clamp<int64_t>(longest / (8 * threads) / 12 * 12, 24, kBatch));
    }

    // A place in the order of coding: everything in earlier steps, and the rows of `step` above `row`.
    int64_t place(int64_t step, int64_t row) const { return step * (scan_.height + 1) + row; }

    // The first chunk of the next step that has pixels: where rows are shorter than the delay, some steps have none.
    int64_t place_after(int64_t step) const {
        do ++step;
        while (step < scan_.steps() && scan_.first_row(step) == scan_.end_row(step));
        return place(step, scan_.first_row(step));
    }

    int64_t end_of_chunk(int64_t step, int64_t row) const { return std::min(row + chunk_, scan_.end_row(step)); }

    // Work of the threads beside the caller.
    void follow(int index, const std::atomic<bool>& stop) {
        Patience patience;
        while (!stop.load(std::memory_order_relaxed)) {
            if (evaluate_next(index))
                patience.reset();
            else
                patience.wait();
        }
    }

    // Claim the next chunk if it can be evaluated by now, and do so.
    bool evaluate_next(int index) {
        int64_t next = next_.load(std::memory_order_relaxed);
        int64_t step, row, end;
        do {
            step = next / (scan_.height + 1);
            row = next % (scan_.height + 1);
            if (step >= scan_.steps()) return false;
            end = end_of_chunk(step, row);
            if (coded_.load(std::memory_order_acquire) < place(step - 1, end)) return false;
        } while (!next_.compare_exchange_weak(next, end < scan_.end_row(step) ? place(step, end) : place_after(step),
                                              std::memory_order_relaxed));
        Slot& slot = slots_[step % 2];
        const int64_t first = row - scan_.first_row(step);
        const int n = int(end - row);
        for (int i = 0; i < n; ++i) slot.pixels[first + i] = canvas_.pixel(row + i, scan_.column(step, row + i));
        evaluate(model_, reading_, slot.pixels.data() + first, n, workspaces_[index],
                 slot.mixtures.data() + first * model_.mixture_stride, task_.counters ? &counters_[index] : nullptr);
        slot.done[first / chunk_].store(step + 1, std::memory_order_release);
        return true;
    }

    // Take a step's symbols off the stream.
    void code(int64_t step, Heartbeat& heartbeat) {
        Slot& slot = slots_[step % 2];
        const int64_t first = scan_.first_row(step), rows_end = scan_.end_row(step);
        for (int channel = 0; channel < model_.channels; ++channel) {
            for (int64_t row = first, end; row < rows_end; row = end) {
                end = end_of_chunk(step, row);
                const int64_t index = row - first;
                if (channel == 0) {
                    work_since_beat_ += (end - row) * model_.macs;
                    if (work_since_beat_ > kWorkBetweenBeats) {
                        heartbeat.beat();
                        work_since_beat_ = 0;
                    }
                    await(slot.done[index / chunk_], step);
                }
                {
                    Stopwatch watch(task_.counters ? &counters_[0].coder : nullptr);
                    model_.kernel->decode(model_, decoder_, slot.mixtures.data() + index * model_.mixture_stride,
                                          int(end - row), channel, slot.pixels.data() + index);
                }
                if (channel == model_.channels - 1) {
                    // Columns fall with rows, so that only a step's ends can touch the image's sides.
                    canvas_.continue_border(row, scan_.column(step, row));
                    if (end - row > 1) canvas_.continue_border(end - 1, scan_.column(step, end - 1));
                    coded_.store(place(step, end), std::memory_order_release);
                }
            }
        }
        coded_.store(place(step + 1, 0), std::memory_order_release);
    }

    void await(const std::atomic<int64_t>& done, int64_t step) {
        Patience patience;
        while (done.load(std::memory_order_acquire) != step + 1) {
            if (evaluate_next(0))
                patience.reset();
            else
                patience.wait();
        }
    }

    const Task& task_;
    const Model& model_;
    const Scan scan_;
    Canvas canvas_;
    const Reading reading_;
    const int threads_;
    const int chunk_;  // most rows of a chunk
    ArithmeticDecoder decoder_;
    int64_t work_since_beat_ = 0;
    Slot slots_[2];
    std::vector<Workspace> workspaces_;
    std::vector<Counters> counters_;
    alignas(64) std::atomic<int64_t> next_{0};
    alignas(64) std::atomic<int64_t> coded_{0};
};

}  // namespace

void decode(const Task& task, const uint8_t* stream, size_t size, uint8_t* image) {
    Decoding(task, stream, size).run(image);
}

}  // namespace p59
