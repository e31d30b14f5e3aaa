// Wrappers of CUB functions.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "cuda/memory.h"

namespace leakrepro {

// Sorts the keys by their lowest `bits` bits and permutes the values in the same way.
void sort_pairs(DeviceArray<std::uint64_t>& keys, DeviceArray<std::uint32_t>& values, int bits,
                cudaStream_t stream);

// Replaces each entry by the sum of the entries before it.
void sum_before(DeviceArray<std::uint64_t>& counts, cudaStream_t stream);

}  // namespace leakrepro
