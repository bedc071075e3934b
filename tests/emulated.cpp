// The native core without Python: cases as numbers on the standard input, streams in hexadecimal and gradients on the
// standard output. tests/emulated.py builds it for other processors and writes what it reads.
#include <iomanip>
#include <iostream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "batch_gradient.hpp"
#include "codec.hpp"

namespace {

using namespace p59;

// Ends the program where the input does.
template <class T = int64_t>
T number() {
    T value;
    if (!(std::cin >> value)) throw std::runtime_error("the case is cut short");
    return value;
}

template <class T>
std::vector<T> numbers(size_t count) {
    std::vector<T> values(count);
    for (T& value : values) value = T(number<std::conditional_t<std::is_floating_point_v<T>, T, int64_t>>());
    return values;
}

Model read_model() {
    Description description;
    description.channels = int(number());
    description.mixtures = int(number());
    description.limit = int(number());
    description.relative_to_west = number();
    description.clamped_scales = number();
    description.parities = number();
    description.padding = Padding(number());
    std::vector<Layer> layers(number());
    for (Layer& layer : layers) {
        const int outputs = int(number()), inputs = int(number());
        const bool leaky = number(), skip = number();
        const auto weights = numbers<int16_t>(size_t(outputs) * inputs);
        const auto bias = numbers<int32_t>(outputs);
        const auto shift = numbers<uint8_t>(outputs);
        layer = pack_layer(weights.data(), bias.data(), shift.data(), outputs, inputs, leaky, skip);
    }
    auto exp2 = numbers<int32_t>(number()), mantissas = numbers<int32_t>(number());
    auto thresholds = numbers<int32_t>(number()), normal = numbers<int32_t>(number());
    return Model(description, std::move(layers), pack_tables(exp2, mantissas, thresholds, normal));
}

// One line: the stream, or what went wrong.
std::string coded(const Task& task, const std::vector<uint8_t>& image) {
    if (task.model.kernel != portable_kernel() && !agrees_with_portable(task.model, *task.model.kernel))
        return "disagrees with portable";
    const std::vector<uint8_t> stream = encode(task, image.data());
    std::vector<uint8_t> restored(image.size());
    decode(task, stream.data(), stream.size(), restored.data());
    if (restored != image) return "not restored";
    std::string line;
    for (uint8_t byte : stream) {
        line += "0123456789abcdef"[byte >> 4];
        line += "0123456789abcdef"[byte & 15];
    }
    return line;
}

void write(const std::vector<float>& values) {
    for (float value : values) std::cout << ' ' << std::setprecision(9) << value;
}

// For each way that the processor has a line: bits, then of each layer the gradients of weights and biases.
void gradients_of_case() {
    FloatNetwork network{};
    network.channels = int(number());
    network.mixtures = int(number());
    network.taps = int(number());
    network.relative_to_west = number();
    network.clamped_scales = number();
    network.parities = number();
    const int west = int(number());
    std::vector<std::pair<std::vector<float>, std::vector<float>>> layers(number());
    for (auto& [weights, biases] : layers) {
        const int outputs = int(number()), inputs = int(number());
        const bool leaky = number(), skip = number();
        network.layers.push_back({outputs, inputs, leaky, skip});
        weights = numbers<float>(size_t(outputs) * inputs);
        biases = numbers<float>(outputs);
    }
    network.output_gain.assign(network.layers.back().used_outputs, 1);
    network.output_offset.assign(network.layers.back().used_outputs, 0);
    const int64_t count = number();
    const auto contexts = numbers<uint8_t>(count * network.taps * network.channels);
    const auto values = numbers<uint8_t>(count * network.channels);
    const auto places = numbers<int64_t>(count * kParities);
    for (const GradientsKind& kind : available_gradients()) {
        BatchGradient gradient(kind, network, west, 2);
        for (size_t index = 0; index < layers.size(); ++index)
            gradient.set_layer(int(index), layers[index].first.data(), layers[index].second.data());
        std::cout << kind.name << ' ' << gradient.evaluate({contexts.data(), values.data(), places.data(), count});
        for (size_t index = 0; index < layers.size(); ++index) {
            auto [weights, biases] = layers[index];
            gradient.layer_gradient(int(index), 1, weights.data(), biases.data());
            write(weights);
            write(biases);
        }
        std::cout << '\n';
    }
    std::cout << "done" << std::endl;
}

}  // namespace

int main() try {
    for (int64_t cases = number(); cases > 0; --cases) {
        Model model = read_model();
        const int64_t height = number(), width = number(), delay = number();
        const int west = int(number());
        std::vector<Tap> taps(model.taps);
        for (Tap& tap : taps) {
            tap.row = int(number());
            tap.column = int(number());
        }
        const auto image = numbers<uint8_t>(size_t(height) * width * model.channels);
        for (const Kernel* kernel : available_kernels()) {
            model.kernel = kernel;
            for (int threads = 1; threads <= 2; ++threads) {
                const Task task{model, {height, width, delay}, taps, west, threads, [] {}, nullptr};
                std::cout << kernel->name << ' ' << coded(task, image) << '\n';
            }
        }
        std::cout << "done" << std::endl;
    }
    for (int64_t cases = number(); cases > 0; --cases) gradients_of_case();
} catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
}
