#include "steps.hpp"

#include <algorithm>
#include <stdexcept>

namespace p59 {

StepCoder::StepCoder(const Task& task, int lookahead)
    : model_(task.model),
      scan_(task.scan),
      canvas_(scan_.height, scan_.width, model_.channels, model_.padding),
      reading_(canvas_.reading(task.taps, task.west)),
      work_(model_),
      slots_(lookahead) {}

int64_t StepCoder::pixels_until(int64_t end) const {
    int64_t pixels = 0;
    for (int64_t step = step_; step < end; ++step) pixels += step_pixels(step);
    return pixels;
}

// Where rows are shorter than the delay, some steps have no pixels.
void StepCoder::skip_empty_steps() {
    while (step_ < scan_.steps() && step_pixels(step_) == 0) ++step_;
}

void StepCoder::gather(int16_t* inputs) {
    require(step_ < scan_.steps(), "gather: all pixels have been gathered");
    require(gathered_ < taken_ + lookahead(), "gather: outputs gathered before have to be taken first");
    Slot& slot = slots_[gathered_ % lookahead()];
    slot.begin = step_;
    slot.end = end_of_block();
    slot.pixels.clear();
    for (int64_t step = slot.begin; step < slot.end; ++step) {
        for (int64_t row = scan_.first_row(step); row < scan_.end_row(step); ++row)
            slot.pixels.push_back(canvas_.pixel(row, scan_.column(step, row)));
    }
    const size_t n = slot.pixels.size(), stride = model_.mixture_stride, width = model_.layers.front().inputs;
    // Kernels may read, not use, the rows of a whole batch.
    if (slot.mixtures.size() < (n + kBatch) * stride) slot.mixtures = Buffer<int32_t>((n + n / 4 + kBatch) * stride);
    int16_t* activations = work_.activations[0].data();
    for (size_t start = 0; start < n; start += kBatch) {
        const int count = int(std::min<size_t>(kBatch, n - start));
        model_.kernel->gather(model_, reading_, slot.pixels.data() + start, count, activations,
                              slot.mixtures.data() + start * stride);
        for (int i = 0; i < count; ++i, inputs += width)
            std::copy_n(activations + size_t(i) * model_.activation_stride, width, inputs);
    }
    step_ = slot.end;
    skip_empty_steps();
    ++gathered_;
}

void StepCoder::take(const int32_t* outputs) {
    require(taken_ < gathered_, "take: no pixels have been gathered");
    Slot& slot = slots_[taken_ % lookahead()];
    const size_t n = slot.pixels.size(), width = model_.layers.back().outputs;
    for (size_t start = 0; start < n; start += kBatch) {
        const int count = int(std::min<size_t>(kBatch, n - start));
        for (int i = 0; i < count; ++i, outputs += width)
            std::copy_n(outputs, width, work_.outputs.data() + size_t(i) * model_.output_stride);
        model_.kernel->mixtures(model_, work_.outputs.data(), count,
                                slot.mixtures.data() + start * model_.mixture_stride);
    }
    code(slot);
    ++taken_;
}

StepDecoder::StepDecoder(const Task& task, std::vector<uint8_t> stream)
    : StepCoder(task, 1),
      stream_(std::move(stream)),
      decoder_(start_decoding(stream_.data(), stream_.size())),
      prepared_(kBatch) {}

void StepDecoder::code(Slot& slot) {
    const size_t n = slot.pixels.size();
    for (int channel = 0; channel < model_.channels; ++channel) {
        for (size_t start = 0; start < n; start += kBatch) {
            const int count = int(std::min<size_t>(kBatch, n - start));
            const int32_t* mixtures = slot.mixtures.data() + start * model_.mixture_stride;
            uint8_t* const* pixels = slot.pixels.data() + start;
            model_.kernel->prepare(model_, mixtures, count, channel, pixels, prepared_.data());
            model_.kernel->find(model_, decoder_, mixtures, prepared_.data(), count, channel, pixels);
        }
    }
    // Columns fall with rows, so that only a step's ends can touch the image's sides or its last row.
    const int64_t first = scan_.first_row(slot.begin), last = scan_.end_row(slot.begin) - 1;
    canvas_.continue_border(first, scan_.column(slot.begin, first));
    if (last > first) canvas_.continue_border(last, scan_.column(slot.begin, last));
}

StepEncoder::StepEncoder(const Task& task, const uint8_t* image, int64_t pixels)
    : StepCoder(task, 2), pixels_(pixels) {
    canvas_.fill(image);
}

int64_t StepEncoder::end_of_block() const {
    int64_t end = step_;
    for (int64_t pixels = 0; end < scan_.steps() && pixels < pixels_; ++end) pixels += step_pixels(end);
    return end;
}

void StepEncoder::code(Slot& slot) {
    const int64_t n = int64_t(slot.pixels.size()), channels = model_.channels;
    if (intervals_.size() < size_t(n * channels)) intervals_.resize(n * channels);
    for (int64_t start = 0; start < n; start += kBatch)
        model_.kernel->intervals(model_, slot.mixtures.data() + start * model_.mixture_stride,
                                 int(std::min<int64_t>(kBatch, n - start)), slot.pixels.data() + start,
                                 intervals_.data() + start * channels);
    const uint32_t* interval = intervals_.data();
    for (int64_t step = slot.begin; step < slot.end; ++step) {
        const int64_t pixels = step_pixels(step);
        for (int64_t channel = 0; channel < channels; ++channel) {
            for (int64_t i = 0; i < pixels; ++i) {
                const uint32_t own = interval[i * channels + channel];
                encoder_.encode(own & 0xFFFF, (own >> 16) + 1);
            }
        }
        interval += pixels * channels;
    }
}

std::vector<int64_t> advance(const std::vector<StepCoder*>& coders, const std::vector<int64_t>& awaited,
                             const int32_t* outputs, int16_t* inputs, Pool& pool) {
    std::vector<int64_t> upcoming, outputs_at, inputs_at;
    int64_t outputs_before = 0, inputs_before = 0;
    for (size_t i = 0; i < coders.size(); ++i) {
        upcoming.push_back(coders[i]->upcoming());
        outputs_at.push_back(outputs_before);
        inputs_at.push_back(inputs_before);
        outputs_before += awaited[i] * coders[i]->model().layers.back().outputs;
        inputs_before += upcoming[i] * coders[i]->model().layers.front().inputs;
    }
    pool.use(int(coders.size()));
    pool.run(int(coders.size()), [&](int i) {
        if (awaited[i]) coders[i]->take(outputs + outputs_at[i]);
        if (upcoming[i]) coders[i]->gather(inputs + inputs_at[i]);
    });
    return upcoming;
}

}  // namespace p59
