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

// Empty without a driver or a device. Throws CudaError when the driver reports anything else than
// success.
std::vector<CudaDevice> cuda_devices();

// Makes a device this thread's current one, and the one before again at the end.
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
