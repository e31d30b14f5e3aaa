#include "cuda/device.h"

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/memory.h"

namespace leakrepro {

std::vector<CudaDevice> cuda_devices() {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaErrorNoDevice || status == cudaErrorInsufficientDriver) return {};
    check(status);
    std::vector<CudaDevice> devices;
    for (int i = 0; i < count; ++i) {
        cudaDeviceProp properties;
        check(cudaGetDeviceProperties(&properties, i));
        devices.push_back({properties.name, {properties.major, properties.minor}});
    }
    return devices;
}

UseDevice::UseDevice(int device) {
    check(cudaGetDevice(&before_));
    check(cudaSetDevice(device));
    // By default, freed memory is returned to the system at every stream synchronisation.
    std::uint64_t kept = std::uint64_t{1} << 30;
    cudaMemPool_t pool;
    check(cudaDeviceGetDefaultMemPool(&pool, device));
    check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept));
}

UseDevice::~UseDevice() { cudaSetDevice(before_); }

}  // namespace leakrepro
