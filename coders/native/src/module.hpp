// What the Python module's parts share: checked arrays, and the model.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>

#include "codec.hpp"
#include "python_lock.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace p59 {

template <class T, int Dimensions>
using Array = nb::ndarray<const T, nb::numpy, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;
using LayerArrays = std::tuple<Array<int16_t, 2>, Array<int32_t, 1>, Array<uint8_t, 1>, bool, bool>;
using Taps = std::vector<std::pair<int, int>>;

// Of an image, so that places in its coding (decode.cpp) can be counted in 64 bits.
constexpr int64_t kLargestSide = 1 << 24, kMostPixels = int64_t(1) << 36;
// Of rows, where it is not the width: larger ones leave most steps empty.
constexpr int64_t kLargestDelay = 16;
constexpr int kMostThreads = 1024;

inline void require(bool condition, const std::string& message) { require(condition, message.c_str()); }

inline const Kernel* kernel_named(const std::string& name) {
    for (const Kernel* kernel : available_kernels())
        if (name == kernel->name) return kernel;
    throw std::invalid_argument("instruction set '" + name + "' is not one of this machine");
}

inline Padding padding_named(const std::string& name) {
    if (name == "zero") return Padding::zero;
    if (name == "edge") return Padding::edge;
    if (name == "diagonal") return Padding::diagonal;
    throw std::invalid_argument("padding '" + name + "' is not one of zero, edge, diagonal");
}

class PyModel {
public:
    PyModel(int channels, int mixtures, int limit, bool relative_to_west, bool clamped_scales, bool parities,
            const std::string& padding, const std::vector<LayerArrays>& layers, std::vector<int32_t> exp2,
            std::vector<int32_t> mantissas, std::vector<int32_t> thresholds, const std::vector<int32_t>& normal,
            const std::string& instruction_set)
        : model_({channels, mixtures, limit, relative_to_west, clamped_scales, parities, padding_named(padding)},
                 packed(layers),
                 pack_tables(std::move(exp2), std::move(mantissas), std::move(thresholds), normal)) {
        const Kernel* wanted = kernel_named(instruction_set);
        bool reached = false;
        for (const Kernel* kernel : available_kernels()) {
            reached |= kernel == wanted;
            if (!reached) continue;
            model_.kernel = kernel;
            if (kernel == portable_kernel() || agrees_with_portable(model_, *kernel)) break;
        }
    }

    std::string instruction_set() const { return model_.kernel->name; }

    // What one call needs, its sizes checked. `check`, a Python function or None, outlives the call.
    Task task(int64_t height, int64_t width, const Taps& taps, int west, std::optional<int64_t> row_delay, int threads,
              Counters* counters = nullptr, nb::handle check = nb::none()) const {
        require(height >= 1 && width >= 1 && height <= kLargestSide && width <= kLargestSide,
                "image of " + std::to_string(height) + " x " + std::to_string(width) + ": sides must be 1 to " +
                    std::to_string(kLargestSide));
        // The second bound counts where pointers have 32 bits: no array of a few numbers a pixel is larger.
        constexpr int64_t most = std::min<int64_t>(kMostPixels, PTRDIFF_MAX / 16);
        require(height * width <= most, "image of more than " + std::to_string(most) + " pixels");
        require(int(taps.size()) == model_.taps, "taps: not as many as the model has");
        require(west >= 0 && west < int(taps.size()), "west: not the index of a tap");
        require(!row_delay || (*row_delay >= 1 && *row_delay <= kLargestDelay),
                "row_delay must be 1 to " + std::to_string(kLargestDelay));
        require(threads >= 1, "threads must be at least 1");
        Task task{model_,
                  {height, width, row_delay.value_or(width)},
                  {},
                  west,
                  std::min(threads, kMostThreads),
                  [check] {
                      const Acquired acquired;
                      if (PyErr_CheckSignals() != 0) throw nb::python_error();
                      if (!check.is_none()) check();
                  },
                  counters};
        for (auto [row, column] : taps) {
            const bool before =
                row_delay ? *row_delay * row + column < 0 : row < 0 || (row == 0 && column < 0);
            const bool inside = -Canvas::kTop <= row && row <= Canvas::kBottom && std::abs(column) <= Canvas::kSide;
            require(before && inside, "taps: beyond the border of an image, or not before the pixel");
            task.taps.push_back({row, column});
        }
        return task;
    }

    int channels() const { return model_.channels; }

    void require_image(const Array<uint8_t, 3>& image) const { require_channels(image.shape(2)); }

    void require_channels(size_t count) const {
        require(int64_t(count) == model_.channels,
                "image has " + std::to_string(count) + " channels, the model " + std::to_string(channels()));
    }

private:
    static std::vector<Layer> packed(const std::vector<LayerArrays>& layers) {
        std::vector<Layer> result;
        for (const auto& [weight, bias, shift, leaky, skip] : layers) {
            const size_t outputs = weight.shape(0), inputs = weight.shape(1);
            require(bias.shape(0) == outputs && shift.shape(0) == outputs, "layer: bias or shift has the wrong length");
            require(outputs >= 1 && inputs >= 1 && outputs <= 1 << 16 && inputs <= 1 << 16, "layer: size");
            result.push_back(
                pack_layer(weight.data(), bias.data(), shift.data(), int(outputs), int(inputs), leaky, skip));
        }
        return result;
    }

    Model model_;
};

template <class T>
nb::object owned_array(std::unique_ptr<T[]> data, size_t height, size_t width, size_t channels) {
    T* pointer = data.release();
    nb::capsule owner(pointer, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    return nb::cast(nb::ndarray<nb::numpy, T, nb::ndim<3>>(pointer, {height, width, channels}, owner));
}

// The classes and functions of steps.hpp.
void bind_steps(nb::module_& module, nb::class_<PyModel>& model);
// The classes of fitter.hpp and batch_gradient.hpp.
void bind_gradients(nb::module_& module);

}  // namespace p59
