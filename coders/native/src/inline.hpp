// What must be compiled in line, or must not, where a compiler can be told.
#pragma once

#if defined(__GNUC__)
#define P59_INLINE __attribute__((always_inline))
#define P59_NOINLINE __attribute__((noinline))
#else
#define P59_INLINE
#define P59_NOINLINE
#endif
