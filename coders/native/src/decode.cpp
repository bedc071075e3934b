// Decoding: the calling thread takes symbols off the stream in their order, all threads prepare them ahead of it.
//
// A step's pixels depend on earlier steps only, and in the step just before on no row below their own, or the next one
// where there are taps of it (`below_`). Each channel of a step is decoded from the first row to the last, so that what
// comes next can follow some rows behind: the network of the next step behind the last channel, and the looks around the
// mean (kernel.hpp, prepare) of a channel behind the one before, whose values its means depend on.
//
//     stream    | R of step t | G | B -----------> | R of step t+1 | G | B ...
//     prepare                G ->  B ->
//     network                         step t+1, R -------->
//
// Steps are cut into chunks of rows. `coded_` is how far the stream has got; `next_network_` and `next_channel_` are the
// chunks that nobody has claimed yet; `ready` tells of each chunk which channel's symbols can be found. A chunk is claimed
// only when all it depends on is coded, by whichever thread is free; the stream's thread does so too while it has to wait.

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
          canvas_(scan_.height, scan_.width, model_.channels, model_.padding),
          reading_(canvas_.reading(task.taps, task.west)),
          below_(rows_below(task.taps)),
          threads_(useful_threads(task)),
          chunk_(chunk_pixels(scan_.longest_step(), threads_)),
          decoder_(start_decoding(stream, size)) {
        const int64_t longest = scan_.longest_step();
        for (Slot& slot : slots_) {
            slot.mixtures = Buffer<int32_t>(uint64_t(longest) * model_.mixture_stride);
            slot.pixels.resize(longest);
            slot.prepared = Buffer<Prepared>(longest);
            slot.ready = std::vector<std::atomic<int64_t>>((longest + chunk_ - 1) / chunk_);
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
        Buffer<Prepared> prepared;
        std::vector<std::atomic<int64_t>> ready;  // for each chunk the last phase(step, channel) that it is ready for
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

    // Steps and their channels in the order of coding, counted from 1.
    int64_t phase(int64_t step, int channel) const { return step * model_.channels + channel + 1; }

    // A place in the order of coding: everything in earlier phases, and the rows above `row`.
    int64_t place(int64_t step, int channel, int64_t row) const { return phase(step, channel) * (scan_.height + 1) + row; }

    // The place at the first row of the first step from `step` on that has pixels: where rows are shorter than the delay,
    // some steps have none.
    int64_t place_from(int64_t step, int channel) const {
        while (step < scan_.steps() && scan_.first_row(step) == scan_.end_row(step)) ++step;
        return place(step, channel, scan_.first_row(step));
    }

    int64_t end_of_chunk(int64_t step, int64_t row) const { return std::min(row + chunk_, scan_.end_row(step)); }

    // Rows row .. end - 1 of a step, for one of its channels.
    struct Chunk {
        int64_t step, row, end;
        int channel;
    };

    Chunk chunk_at(int64_t place) const {
        const int64_t phase = place / (scan_.height + 1) - 1;
        Chunk chunk{phase / model_.channels, place % (scan_.height + 1), 0, int(phase % model_.channels)};
        chunk.end = chunk.step < scan_.steps() ? end_of_chunk(chunk.step, chunk.row) : chunk.row;
        return chunk;
    }

    // Rows below its own that a pixel depends on.
    static int rows_below(const std::vector<Tap>& taps) {
        int below = 0;
        for (Tap tap : taps) below = std::max(below, tap.row);
        return below;
    }

    // Claim the chunk at `next`, if all it depends on is coded: its rows of the phase before, which for a step's first
    // channel is the last channel of the step before.
    bool claim(std::atomic<int64_t>& next, Chunk& chunk) {
        int64_t claimed = next.load(std::memory_order_relaxed), after;
        do {
            chunk = chunk_at(claimed);
            if (chunk.step >= scan_.steps()) return false;
            const int64_t end = std::min(chunk.end + (chunk.channel == 0 ? below_ : 0), scan_.height);
            if (coded_.load(std::memory_order_acquire) < place(chunk.step, chunk.channel - 1, end)) return false;
            if (chunk.end < scan_.end_row(chunk.step))
                after = place(chunk.step, chunk.channel, chunk.end);
            else if (chunk.channel == 0 || chunk.channel == model_.channels - 1)
                after = place_from(chunk.step + 1, chunk.channel == 0 ? 0 : 1);
            else
                after = place(chunk.step, chunk.channel + 1, scan_.first_row(chunk.step));
        } while (!next.compare_exchange_weak(claimed, after, std::memory_order_relaxed));
        return true;
    }

    // Work of the threads beside the caller, who waits for it: it asks for no memory and throws nothing.
    void follow(int index, const std::atomic<bool>& stop) noexcept {
        Patience patience;
        while (!stop.load(std::memory_order_relaxed)) {
            if (prepare_next(index))
                patience.reset();
            else
                patience.wait();
        }
    }

    // Claim the next chunk that can be worked on by now, if there is one, and do so. Channels are sooner waited for.
    bool prepare_next(int index) {
        Chunk chunk;
        const bool network = model_.channels == 1 || !claim(next_channel_, chunk);
        if (network && !claim(next_network_, chunk)) return false;
        Slot& slot = slots_[chunk.step % 2];
        const int64_t first = chunk.row - scan_.first_row(chunk.step);
        const int n = int(chunk.end - chunk.row);
        uint8_t** pixels = slot.pixels.data() + first;
        int32_t* mixtures = slot.mixtures.data() + first * model_.mixture_stride;
        Counters* counters = task_.counters ? &counters_[index] : nullptr;
        if (network) {
            for (int i = 0; i < n; ++i) pixels[i] = canvas_.pixel(chunk.row + i, scan_.column(chunk.step, chunk.row + i));
            evaluate(model_, reading_, pixels, n, workspaces_[index], mixtures, counters);
        }
        {
            Stopwatch watch(counters ? &counters->coder : nullptr);
            model_.kernel->prepare(model_, mixtures, n, chunk.channel, pixels, slot.prepared.data() + first);
        }
        slot.ready[first / chunk_].store(phase(chunk.step, chunk.channel), std::memory_order_release);
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
                }
                await(slot.ready[index / chunk_], phase(step, channel));
                {
                    Stopwatch watch(task_.counters ? &counters_[0].coder : nullptr);
                    model_.kernel->find(model_, decoder_, slot.mixtures.data() + index * model_.mixture_stride,
                                        slot.prepared.data() + index, int(end - row), channel,
                                        slot.pixels.data() + index);
                }
                if (channel == model_.channels - 1) {
                    // Columns fall with rows, so that only a step's ends can touch the image's sides or its last row.
                    canvas_.continue_border(row, scan_.column(step, row));
                    if (end - row > 1) canvas_.continue_border(end - 1, scan_.column(step, end - 1));
                }
                coded_.store(place(step, channel, end), std::memory_order_release);
            }
        }
        coded_.store(place(step + 1, 0, 0), std::memory_order_release);
    }

    void await(const std::atomic<int64_t>& ready, int64_t phase) {
        Patience patience;
        while (ready.load(std::memory_order_acquire) != phase) {
            if (prepare_next(0))
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
    const int below_;
    const int threads_;
    const int chunk_;  // most rows of a chunk
    ArithmeticDecoder decoder_;
    int64_t work_since_beat_ = 0;
    Slot slots_[2];
    std::vector<Workspace> workspaces_;
    std::vector<Counters> counters_;
    alignas(64) std::atomic<int64_t> next_network_{place_from(0, 0)};
    alignas(64) std::atomic<int64_t> next_channel_{place_from(0, 1)};
    alignas(64) std::atomic<int64_t> coded_{place(0, 0, 0)};
};

}  // namespace

void decode(const Task& task, const uint8_t* stream, size_t size, uint8_t* image) {
    Decoding(task, stream, size).run(image);
}

}  // namespace p59
