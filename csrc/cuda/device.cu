#include "cuda/device.h"

#include <cuda_runtime_api.h>

#include <stdexcept>

namespace leakrepro {
namespace {

void check(cudaError_t status) {
    if (status == cudaSuccess) return;
    throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(status));
}

}  // namespace

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

}  // namespace leakrepro
