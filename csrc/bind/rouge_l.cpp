#include "rouge.h"

#include "bind/bind.h"
#include "bind/groups.h"
#include "bind/python.h"

namespace py = pybind11;

namespace leakrepro {
namespace {

void py_rouge_l(const py::object& references, const py::object& candidates,
                Output<double> precision, Output<double> recall, Output<double> fmeasure,
                bool stem, std::size_t threads, const std::string& name) {
    const Implementation& chosen = implementation(name);
    const HeldGroups held(references, candidates);
    const Groups groups = held.view();
    const std::size_t size = groups.candidates.size();
    const Measures measures{writable(precision, size), writable(recall, size),
                            writable(fmeasure, size)};
    const py::gil_scoped_release no_gil;
    rouge_l(groups, stem, chosen, threads, SignalPoll(), measures);
}

}  // namespace

void bind_rouge_l(py::module_& module) {
    module.def("rouge_l", &py_rouge_l, py::arg("references"), py::arg("candidates"),
               py::arg("precision").noconvert(), py::arg("recall").noconvert(),
               py::arg("fmeasure").noconvert(), py::kw_only(), py::arg("stem"),
               py::arg("threads"), py::arg("implementation"));
}

}  // namespace leakrepro
