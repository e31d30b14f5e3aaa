// In the place of csrc/cuda/sort.cu.
#include "cuda/sort.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace leakrepro {

void sort_pairs(DeviceArray<std::uint64_t>& keys, DeviceArray<std::uint32_t>& values, int bits,
                cudaStream_t) {
    const std::uint64_t mask = bits == 64 ? ~0ull : (1ull << bits) - 1;
    std::vector<std::size_t> order(keys.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const std::vector<std::uint64_t> old_keys(keys.data(), keys.data() + keys.size());
    const std::vector<std::uint32_t> old_values(values.data(), values.data() + values.size());
    std::stable_sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) {
        return (old_keys[i] & mask) < (old_keys[j] & mask);
    });
    for (std::size_t i = 0; i < order.size(); ++i) {
        keys.data()[i] = old_keys[order[i]];
        values.data()[i] = old_values[order[i]];
    }
}

void sum_before(DeviceArray<std::uint64_t>& counts, cudaStream_t) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        const std::uint64_t count = counts.data()[i];
        counts.data()[i] = sum;
        sum += count;
    }
}

}  // namespace leakrepro
