#include <pybind11/stl.h>

#include "bind/bind.h"
#ifdef LEAKREPRO_WITH_CUDA
#include "cuda/device.h"
#endif

namespace py = pybind11;

namespace leakrepro {
namespace {

#ifdef LEAKREPRO_WITH_CUDA
constexpr bool kBuiltWithCuda = true;
#else
constexpr bool kBuiltWithCuda = false;
#endif

std::vector<std::pair<std::string, std::pair<int, int>>> py_cuda_devices() {
    std::vector<std::pair<std::string, std::pair<int, int>>> result;
#ifdef LEAKREPRO_WITH_CUDA
    const py::gil_scoped_release no_gil;
    for (const CudaDevice& device : cuda_devices()) {
        result.emplace_back(device.name, device.compute_capability);
    }
#endif
    return result;
}

}  // namespace

void bind_cuda(py::module_& module) {
    module.def("built_with_cuda", [] { return kBuiltWithCuda; });
    module.def("cuda_devices", &py_cuda_devices);
}

}  // namespace leakrepro
