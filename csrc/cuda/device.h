// The CUDA devices of this machine.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace leakrepro {

struct CudaDevice {
    std::string name;
    std::pair<int, int> compute_capability;
};

// Empty without a driver or a device. Throws std::runtime_error when the driver reports anything
// else than success.
std::vector<CudaDevice> cuda_devices();

}  // namespace leakrepro
