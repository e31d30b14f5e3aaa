#include "rouge.h"

#include "bind/bind.h"
#include "bind/python.h"

namespace py = pybind11;

namespace leakrepro {
namespace {

// Views of the strings, and references to them: the caller's lists may change once the GIL is free.
struct HeldGroups {
    Groups groups;
    std::vector<py::object> held;

    HeldGroups(const py::list& references, const py::list& candidates) {
        if (references.size() != candidates.size()) {
            throw py::value_error("references and candidates differ in length");
        }
        groups.offsets.push_back(0);
        for (std::size_t i = 0; i < references.size(); ++i) {
            py::object reference = references[i];
            if (!PyUnicode_Check(reference.ptr())) {
                refuse("reference " + std::to_string(i), reference);
            }
            py::object row = candidates[i];
            if (!PyList_Check(row.ptr())) {
                throw py::type_error("candidates must be a list of lists");
            }
            for (Py_ssize_t j = 0; j < PyList_GET_SIZE(row.ptr()); ++j) {
                auto candidate = py::reinterpret_borrow<py::object>(PyList_GET_ITEM(row.ptr(), j));
                if (!PyUnicode_Check(candidate.ptr())) {
                    refuse("candidate " + std::to_string(j) + " of reference " + std::to_string(i),
                           candidate);
                }
                groups.candidates.push_back(view(candidate));
                held.push_back(std::move(candidate));
            }
            groups.offsets.push_back(groups.candidates.size());
            groups.references.push_back(view(reference));
            held.push_back(std::move(reference));
        }
    }
};

void py_rouge_l(const py::list& references, const py::list& candidates, Output<double> precision,
                Output<double> recall, Output<double> fmeasure, bool stem, std::size_t threads,
                const std::string& name) {
    const Implementation& chosen = implementation(name);
    const HeldGroups held(references, candidates);
    const std::size_t size = held.groups.candidates.size();
    const Measures measures{writable(precision, size), writable(recall, size),
                            writable(fmeasure, size)};
    const py::gil_scoped_release no_gil;
    rouge_l(held.groups, stem, chosen, threads, SignalPoll(), measures);
}

}  // namespace

void bind_rouge_l(py::module_& module) {
    module.def("rouge_l", &py_rouge_l, py::arg("references"), py::arg("candidates"),
               py::arg("precision").noconvert(), py::arg("recall").noconvert(),
               py::arg("fmeasure").noconvert(), py::kw_only(), py::arg("stem"),
               py::arg("threads"), py::arg("implementation"));
}

}  // namespace leakrepro
