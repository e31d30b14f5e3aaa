#include "ids.h"

#include <pybind11/stl.h>

#include <limits>

#include "bind/bind.h"
#include "bind/python.h"

namespace py = pybind11;

namespace leakrepro {
namespace {

IdSequences sequences(const py::array& ids, const Offsets& offsets, const std::string& what) {
    if (ids.ndim() != 1 || !(ids.flags() & py::array::c_style)) {
        throw py::value_error(what + " ids must be one-dimensional and contiguous");
    }
    check_offsets(offsets, static_cast<std::size_t>(ids.size()), what + " offsets");
    const IdSequences result{ids.data(), offsets.data(),
                             static_cast<std::size_t>(offsets.size() - 1)};
    for (std::size_t i = 0; i < result.count; ++i) {
        if (result.size_of(i) > std::numeric_limits<std::int32_t>::max()) {
            throw py::value_error(what + " " + std::to_string(i) + " has more than 31 bits of ids");
        }
    }
    return result;
}

// The largest id plus 1; ids are unsigned.
std::size_t above_all(const py::array& ids) {
    if (ids.itemsize() == 1) return 256;
    return with_id_type(ids.data(), static_cast<int>(ids.itemsize()), [&](const auto* typed) {
        std::size_t highest = 0;
        for (py::ssize_t i = 0; i < ids.size(); ++i) {
            highest = std::max<std::size_t>(highest, typed[i]);
        }
        return highest + 1;
    });
}

IdGroups id_groups(const py::array& reference_ids, const Offsets& reference_offsets,
                   const py::array& candidate_ids, const Offsets& candidate_offsets,
                   const std::optional<Offsets>& groups) {
    if (!reference_ids.dtype().equal(candidate_ids.dtype())) {
        throw py::value_error("ids of references and candidates differ in type");
    }
    const IdGroups result{sequences(reference_ids, reference_offsets, "reference"),
                          sequences(candidate_ids, candidate_offsets, "candidate"),
                          static_cast<int>(reference_ids.itemsize()), above_all(reference_ids),
                          groups ? groups->data() : nullptr};
    if (!groups) return result;
    check_offsets(*groups, result.candidates.count, "groups");
    if (static_cast<std::size_t>(groups->size()) != result.references.count + 1) {
        throw py::value_error("groups must have one entry more than there are references");
    }
    if (groups->at(0) != 0 ||
        static_cast<std::size_t>(groups->at(groups->size() - 1)) != result.candidates.count) {
        throw py::value_error("groups must start at 0 and end at the number of candidates");
    }
    return result;
}

std::size_t pairs(const IdGroups& groups) {
    return groups.candidates.count * (groups.offsets == nullptr ? groups.references.count : 1);
}

void py_lcs_length(const py::array& reference_ids, const Offsets& reference_offsets,
                   const py::array& candidate_ids, const Offsets& candidate_offsets,
                   const std::optional<Offsets>& groups, Output<std::int32_t> out,
                   std::size_t threads, const std::string& name) {
    const IdGroups ids =
        id_groups(reference_ids, reference_offsets, candidate_ids, candidate_offsets, groups);
    std::int32_t* const lengths = writable(out, pairs(ids));
    const Implementation& chosen = implementation(name);
    const py::gil_scoped_release no_gil;
    lcs_length(ids, chosen, threads, SignalPoll(), lengths);
}

void py_rouge_l_ids(const py::array& reference_ids, const Offsets& reference_offsets,
                    const py::array& candidate_ids, const Offsets& candidate_offsets,
                    const std::optional<Offsets>& groups, Output<double> precision,
                    Output<double> recall, Output<double> fmeasure, std::size_t threads,
                    const std::string& name) {
    const IdGroups ids =
        id_groups(reference_ids, reference_offsets, candidate_ids, candidate_offsets, groups);
    const std::size_t size = pairs(ids);
    const Measures measures{writable(precision, size), writable(recall, size),
                            writable(fmeasure, size)};
    const Implementation& chosen = implementation(name);
    const py::gil_scoped_release no_gil;
    rouge_l_ids(ids, chosen, threads, SignalPoll(), measures);
}

}  // namespace

void bind_ids(py::module_& module) {
    module.def("lcs_length", &py_lcs_length, py::arg("reference_ids"), py::arg("reference_offsets"),
               py::arg("candidate_ids"), py::arg("candidate_offsets"), py::arg("groups"),
               py::arg("out").noconvert(), py::kw_only(), py::arg("threads"),
               py::arg("implementation"));
    module.def("rouge_l_ids", &py_rouge_l_ids, py::arg("reference_ids"),
               py::arg("reference_offsets"), py::arg("candidate_ids"),
               py::arg("candidate_offsets"), py::arg("groups"), py::arg("precision").noconvert(),
               py::arg("recall").noconvert(), py::arg("fmeasure").noconvert(), py::kw_only(),
               py::arg("threads"), py::arg("implementation"));
}

}  // namespace leakrepro
