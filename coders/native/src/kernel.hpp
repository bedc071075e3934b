// What an instruction set provides, as a table of functions. kernel_*.cpp each fill one; kernels.cpp chooses.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arithmetic.hpp"
#include "mixture.hpp"
#include "model.hpp"

namespace p59 {

// Written by prepare and read by find of the same kernel: a line of cache, since another core may have written it.
struct alignas(64) Prepared {
    int32_t lane[16];
};

// n <= kBatch pixels everywhere; `mixtures` are rows of Model::mixture_stride.
struct Kernel {
    const char* name;

    // Contexts of the pixels -> first activations, and the references of their mixtures.
    void (*gather)(const Model&, const Reading&, const uint8_t* const* pixels, int n, int16_t* activations,
                   int32_t* mixtures);
    // work.activations[0] -> work.outputs
    void (*network)(const Model&, Workspace& work, int n);
    // work.outputs -> mixtures
    void (*mixtures)(const Model&, const int32_t* outputs, int n, int32_t* mixtures);
    // What finding one channel's symbols needs of the mixtures, given the pixels' earlier channels.
    void (*prepare)(const Model&, const int32_t* mixtures, int n, int channel, const uint8_t* const* pixels,
                    Prepared* prepared);
    // Take one channel of n pixels in turn off the stream, prepared before.
    void (*find)(const Model&, ArithmeticDecoder&, const int32_t* mixtures, const Prepared* prepared, int n,
                 int channel, uint8_t* const* pixels);
    // CDF points of the pixels' values, c_low | (c_high - 1) << 16, as [pixel][channel].
    void (*intervals)(const Model&, const int32_t* mixtures, int n, const uint8_t* const* pixels, uint32_t* out);
    // Multiply-accumulate in registers only, `rounds` times; returns how many were done. For benchmarks.
    int64_t (*ceiling)(int64_t rounds);
};

const Kernel* portable_kernel();
// Null where not compiled in or not supported by this processor.
const Kernel* avx2_kernel();
const Kernel* avxvnni_kernel();
const Kernel* avx512vnni_kernel();
const Kernel* neon_kernel();

// Best first.
std::vector<const Kernel*> available_kernels();

// Whether a kernel computes what the portable one does, on pseudo-random pixels and every tile size.
bool agrees_with_portable(const Model& model, const Kernel& kernel);

}  // namespace p59
