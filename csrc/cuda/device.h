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

// Empty without a driver or a device. Throws CudaError if the driver reports another error.
std::vector<CudaDevice> cuda_devices();

// Makes a device this thread's current device, and restores the previous one in the destructor.
class UseDevice {
  public:
    explicit UseDevice(int device);
    ~UseDevice();
    UseDevice(const UseDevice&) = delete;
    UseDevice& operator=(const UseDevice&) = delete;

  private:
    int before_ = 0;
};

}  // namespace leakrepro
