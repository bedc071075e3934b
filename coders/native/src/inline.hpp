// What must be compiled in line, or must not, where a compiler can be told; loops that must be unrolled.
#pragma once

#include <type_traits>
#include <utility>

#if defined(__GNUC__)
#define P59_INLINE __attribute__((always_inline))
#define P59_NOINLINE __attribute__((noinline))
#else
#define P59_INLINE
#define P59_NOINLINE
#endif

namespace p59 {

// function(0), function(1), ... with constants, so that arrays indexed by them become registers.
template <class Function, int... Index>
P59_INLINE static inline void unrolled(Function&& function, std::integer_sequence<int, Index...>) {
    (function(std::integral_constant<int, Index>()), ...);
}

template <int Count, class Function>
P59_INLINE static inline void unrolled(Function&& function) {
    unrolled(function, std::make_integer_sequence<int, Count>());
}

}  // namespace p59
