// What x86 kernels ask of a processor. Functions are each unit's own.
#pragma once

#include <cpuid.h>

namespace p59 {

namespace {

// What all of them use. Processors without lzcnt take it for another instruction, and compilers have no common name to ask
// for it.
inline bool has_avx2() {
    unsigned a, b, c, d;
    const bool lzcnt = __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & 1 << 5);
    return lzcnt && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
}

inline bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

}  // namespace

}  // namespace p59
