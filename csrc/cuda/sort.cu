#include "cuda/sort.h"

#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>

namespace leakrepro {

void sort_pairs(DeviceArray<std::uint64_t>& keys, DeviceArray<std::uint32_t>& values, int bits,
                cudaStream_t stream) {
    const DeviceArray<std::uint64_t> sorted_keys(keys.size(), stream);
    const DeviceArray<std::uint32_t> sorted_values(values.size(), stream);
    std::size_t bytes = 0;
    const auto run = [&](void* workspace) {
        check(cub::DeviceRadixSort::SortPairs(workspace, bytes, keys.data(), sorted_keys.data(),
                                              values.data(), sorted_values.data(), keys.size(), 0,
                                              bits, stream));
    };
    run(nullptr);  // only computes the size of the workspace
    const DeviceArray<unsigned char> workspace(bytes, stream);
    run(workspace.data());
    check(cudaMemcpyAsync(keys.data(), sorted_keys.data(), keys.size() * sizeof(std::uint64_t),
                          cudaMemcpyDeviceToDevice, stream));
    check(cudaMemcpyAsync(values.data(), sorted_values.data(),
                          values.size() * sizeof(std::uint32_t), cudaMemcpyDeviceToDevice, stream));
}

void sum_before(DeviceArray<std::uint64_t>& counts, cudaStream_t stream) {
    std::size_t bytes = 0;
    const auto run = [&](void* workspace) {
        check(cub::DeviceScan::ExclusiveSum(workspace, bytes, counts.data(), counts.data(),
                                            counts.size(), stream));
    };
    run(nullptr);
    const DeviceArray<unsigned char> workspace(bytes, stream);
    run(workspace.data());
}

}  // namespace leakrepro
