#include <pybind11/stl.h>

#include <optional>

#include "bind/bind.h"
#include "bind/python.h"
#ifdef LEAKREPRO_WITH_CUDA
#include "cuda/device.h"
#include "cuda/lcs.h"
#endif

namespace py = pybind11;

namespace leakrepro {
namespace {

#ifdef LEAKREPRO_WITH_CUDA
constexpr bool kBuiltWithCuda = true;

using Address = std::uintptr_t;
using Addresses = std::pair<Address, Address>;  // of the ids and of the offsets

template <class T>
T* pointer(Address address) {
    return reinterpret_cast<T*>(address);
}

// `addresses` are on the device; `offsets` is their copy on the host, already validated by the
// caller.
CudaSequences sequences(const Addresses& addresses, const Offsets& offsets) {
    return {pointer<const void>(addresses.first), pointer<const std::int64_t>(addresses.second),
            offsets.data(), static_cast<std::size_t>(offsets.size() - 1)};
}

CudaGroups cuda_groups(const Addresses& references, const Offsets& reference_offsets,
                       const Addresses& candidates, const Offsets& candidate_offsets, int width,
                       const std::optional<Offsets>& groups) {
    return {sequences(references, reference_offsets), sequences(candidates, candidate_offsets),
            width, groups ? groups->data() : nullptr};
}

void py_cuda_lcs_length(const Addresses& references, const Offsets& reference_offsets,
                        const Addresses& candidates, const Offsets& candidate_offsets, int width,
                        const std::optional<Offsets>& groups, Address lengths, int device,
                        Address stream) {
    const CudaGroups all = cuda_groups(references, reference_offsets, candidates, candidate_offsets,
                                       width, groups);
    const py::gil_scoped_release no_gil;
    const UseDevice use(device);
    cuda_lcs_length(all, pointer<std::int32_t>(lengths), pointer<void>(stream));
}

void py_cuda_measures(const Addresses& references, const Offsets& reference_offsets,
                      const Addresses& candidates, const Offsets& candidate_offsets, int width,
                      const std::optional<Offsets>& groups, Address lengths, Address precision,
                      Address recall, Address fmeasure, int device, Address stream) {
    const CudaGroups all = cuda_groups(references, reference_offsets, candidates, candidate_offsets,
                                       width, groups);
    const py::gil_scoped_release no_gil;
    const UseDevice use(device);
    cuda_measures(all, pointer<const std::int32_t>(lengths), pointer<double>(precision),
                  pointer<double>(recall), pointer<double>(fmeasure), pointer<void>(stream));
}
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
#ifdef LEAKREPRO_WITH_CUDA
    // All addresses are in device memory. Those of references and candidates are pairs: the address
    // of the ids and the address of the offsets.
    module.def("cuda_lcs_length", &py_cuda_lcs_length, py::arg("references"),
               py::arg("reference_offsets"), py::arg("candidates"), py::arg("candidate_offsets"),
               py::arg("width"), py::arg("groups"), py::arg("lengths"), py::kw_only(),
               py::arg("device"), py::arg("stream"));
    module.def("cuda_measures", &py_cuda_measures, py::arg("references"),
               py::arg("reference_offsets"), py::arg("candidates"), py::arg("candidate_offsets"),
               py::arg("width"), py::arg("groups"), py::arg("lengths"), py::arg("precision"),
               py::arg("recall"), py::arg("fmeasure"), py::kw_only(), py::arg("device"),
               py::arg("stream"));
#endif
}

}  // namespace leakrepro
