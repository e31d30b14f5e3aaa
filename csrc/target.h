// Compiles the code between LEAKREPRO_AVX... and LEAKREPRO_TARGET_END for that instruction set.
//
// Put all includes before it: the linker may keep the AVX-512 version of an inline function of the
// standard library for all files.
#pragma once

#ifdef __x86_64__
#include <immintrin.h>

#define LEAKREPRO_PRAGMA(text) _Pragma(#text)
#ifdef __clang__
#define LEAKREPRO_TARGET(isa) \
    LEAKREPRO_PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#define LEAKREPRO_TARGET_END _Pragma("clang attribute pop")
#else
// GCC 12 warns about undefined vectors in its own headers (gcc.gnu.org/PR105593, 2022).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#define LEAKREPRO_TARGET(isa) _Pragma("GCC push_options") LEAKREPRO_PRAGMA(GCC target(isa))
#define LEAKREPRO_TARGET_END _Pragma("GCC pop_options")
#endif

#define LEAKREPRO_AVX2 LEAKREPRO_TARGET("avx2,bmi,bmi2,popcnt")
// Ice Lake and Zen 4 support all of these.
#define LEAKREPRO_AVX512 \
    LEAKREPRO_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,avx512vpopcntdq,bmi,bmi2,popcnt")
#endif
