// The parts of the Python module leakrepro._native, one per source file.
#pragma once

#include <pybind11/pybind11.h>

namespace leakrepro {

void bind_rouge_l(pybind11::module_& module);  // ROUGE-L of texts
void bind_ids(pybind11::module_& module);      // LCS and ROUGE-L of token ids
void bind_scorer(pybind11::module_& module);   // all ROUGE types, of texts or token ids
void bind_text(pybind11::module_& module);     // tokens and stems
void bind_cuda(pybind11::module_& module);     // CUDA devices and kernels

}  // namespace leakrepro
