// What CUB does for us.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "cuda/memory.h"

namespace leakrepro {

// Sorts keys and moves the values along. Only the lowest `bits` bits of a key count.
void sort_pairs(DeviceArray<std::uint64_t>& keys, DeviceArray<std::uint32_t>& values, int bits,
                cudaStream_t stream);

// Turns counts into where each starts; the last entry becomes the sum of those before.
void sum_before(DeviceArray<std::uint64_t>& counts, cudaStream_t stream);

}  // namespace leakrepro
