// The Python module leakrepro._native.

#include <pybind11/stl.h>

#include "bind/bind.h"
#include "dispatch.h"

namespace leakrepro {
namespace {

std::vector<std::string> py_implementations() {
    std::vector<std::string> names;
    for (const Implementation& available : implementations()) names.push_back(available.name);
    return names;
}

PYBIND11_MODULE(_native, module) {
    module.doc() = "The native kernel; use it through leakrepro.rouge.";
    module.def("implementations", &py_implementations);
    bind_text(module);
    bind_rouge_l(module);
    bind_ids(module);
    bind_scorer(module);
    bind_cuda(module);
}

}  // namespace
}  // namespace leakrepro
