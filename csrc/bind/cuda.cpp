#include <pybind11/stl.h>

#include <limits>

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

#ifdef LEAKREPRO_WITH_CUDA
// Where ids start, and how many there are: the caller has checked that they are contiguous.
using Span = std::pair<std::uintptr_t, std::size_t>;

CudaSequences sequences(const Span& ids, const Offsets& offsets, const std::string& what) {
    check_offsets(offsets, ids.second, what + " offsets");
    const CudaSequences result{reinterpret_cast<const void*>(ids.first), offsets.data(),
                               static_cast<std::size_t>(offsets.size() - 1)};
    for (std::size_t i = 0; i < result.count; ++i) {
        if (offsets.data()[i + 1] - offsets.data()[i] > std::numeric_limits<std::int32_t>::max()) {
            throw py::value_error(what + " " + std::to_string(i) + " has more than 31 bits of ids");
        }
    }
    return result;
}

void py_cuda_lcs_length(const Span& reference_ids, const Offsets& reference_offsets,
                        const Span& candidate_ids, const Offsets& candidate_offsets, int width,
                        const std::optional<Offsets>& groups, const Span& out, int device,
                        std::uintptr_t stream) {
    const CudaGroups all{sequences(reference_ids, reference_offsets, "reference"),
                         sequences(candidate_ids, candidate_offsets, "candidate"), width,
                         groups ? groups->data() : nullptr};
    if (width != 1 && width != 2 && width != 4 && width != 8) {
        throw py::value_error("an id has 1, 2, 4 or 8 bytes");
    }
    std::size_t pairs = all.candidates.count;
    if (!groups) {
        pairs *= all.references.count;
    } else {
        check_offsets(*groups, all.candidates.count, "groups");
        if (static_cast<std::size_t>(groups->size()) != all.references.count + 1) {
            throw py::value_error("groups must have one entry more than there are references");
        }
        if (groups->at(0) != 0 ||
            static_cast<std::size_t>(groups->at(groups->size() - 1)) != all.candidates.count) {
            throw py::value_error("groups must start at 0 and end at the number of candidates");
        }
    }
    if (out.second != pairs) throw py::value_error("out must have one entry for each pair");
    const py::gil_scoped_release no_gil;
    cuda_lcs_length(all, {device, reinterpret_cast<void*>(stream)}, SignalPoll(),
                    reinterpret_cast<std::int32_t*>(out.first));
}
#endif

}  // namespace

void bind_cuda(py::module_& module) {
    module.def("built_with_cuda", [] { return kBuiltWithCuda; });
    module.def("cuda_devices", &py_cuda_devices);
#ifdef LEAKREPRO_WITH_CUDA
    module.def("cuda_lcs_length", &py_cuda_lcs_length, py::arg("reference_ids"),
               py::arg("reference_offsets"), py::arg("candidate_ids"),
               py::arg("candidate_offsets"), py::arg("width"), py::arg("groups"), py::arg("out"),
               py::kw_only(), py::arg("device"), py::arg("stream"));
#endif
}

}  // namespace leakrepro
