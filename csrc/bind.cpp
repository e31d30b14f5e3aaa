// The Python module leakrepro._native. Strings are read where Python keeps them.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <limits>

#include "dispatch.h"
#include "rouge.h"
#include "text/porter.h"
#include "text/vocabulary.h"
#ifdef LEAKREPRO_WITH_CUDA
#include "cuda/device.h"
#endif

namespace py = pybind11;

namespace leakrepro {
namespace {

// C order, float64; anything else is refused, as a converted copy would not reach the caller.
using Output = py::array_t<double, py::array::c_style>;

bool is_text(py::handle object) { return PyUnicode_Check(object.ptr()) != 0; }

// The characters of a string, which live as long as the string does.
Text view(py::handle text) {
#if PY_VERSION_HEX < 0x030C0000
    if (PyUnicode_READY(text.ptr()) != 0) throw py::error_already_set();
#endif
    return {PyUnicode_DATA(text.ptr()), static_cast<std::size_t>(PyUnicode_GET_LENGTH(text.ptr())),
            static_cast<int>(PyUnicode_KIND(text.ptr()))};
}

[[noreturn]] void refuse(const std::string& what, py::handle object) {
    throw py::type_error(what + " must be a string, not " +
                         py::str(py::type::handle_of(object).attr("__name__")).cast<std::string>());
}

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
            if (!is_text(reference)) refuse("reference " + std::to_string(i), reference);
            py::object row = candidates[i];
            if (!PyList_Check(row.ptr())) {
                throw py::type_error("candidates must be a list of lists");
            }
            for (Py_ssize_t j = 0; j < PyList_GET_SIZE(row.ptr()); ++j) {
                auto candidate = py::reinterpret_borrow<py::object>(PyList_GET_ITEM(row.ptr(), j));
                if (!is_text(candidate)) {
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

double* writable(Output& output, std::size_t size) {
    if (output.ndim() != 1 || static_cast<std::size_t>(output.size()) != size) {
        throw py::value_error("an output array must have one entry for each candidate");
    }
    return output.mutable_data();  // throws where the array is read-only
}

// Lets Ctrl-C through, at most a hundred times a second: taking the GIL is not free.
class SignalPoll {
  public:
    void operator()() {
        const auto now = std::chrono::steady_clock::now();
        if (now - last_ < std::chrono::milliseconds(10)) return;
        last_ = now;
        const py::gil_scoped_acquire gil;
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    }

  private:
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

void py_rouge_l(const py::list& references, const py::list& candidates, Output precision,
                Output recall, Output fmeasure, bool stem, std::size_t threads,
                const std::string& name) {
    const Implementation& chosen = implementation(name);
    const HeldGroups held(references, candidates);
    const std::size_t size = held.groups.candidates.size();
    const Measures measures{writable(precision, size), writable(recall, size),
                            writable(fmeasure, size)};
    const py::gil_scoped_release no_gil;
    rouge_l(held.groups, stem, chosen, threads, SignalPoll(), measures);
}

std::vector<std::string> py_tokenise(const py::str& text, bool stem, const std::string& name) {
    Tokens tokens;
    implementation(name).tokenise(view(text), tokens);
    std::vector<std::string> result;
    tokens.for_each([&](const char* token, std::size_t length) {
        std::string word(token, length);
        if (stem) word.resize(stem_token(word.data(), length));
        result.push_back(std::move(word));
    });
    return result;
}

std::string py_porter_stem(std::string word) {
    for (char c : word) {
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9')) {
            throw py::value_error("a word may only hold a-z and 0-9");
        }
    }
    word.resize(porter_stem(word.data(), word.size()));
    return word;
}

std::vector<std::string> py_implementations() {
    std::vector<std::string> names;
    for (const Implementation& available : implementations()) names.push_back(available.name);
    return names;
}

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

PYBIND11_MODULE(_native, module) {
    module.doc() = "The native kernel; leakrepro.metrics.rouge is its face.";
    module.def("rouge_l", &py_rouge_l, py::arg("references"), py::arg("candidates"),
               py::arg("precision").noconvert(), py::arg("recall").noconvert(),
               py::arg("fmeasure").noconvert(), py::kw_only(), py::arg("stem"),
               py::arg("threads"), py::arg("implementation"));
    module.def("tokenise", &py_tokenise, py::arg("text"), py::kw_only(), py::arg("stem"),
               py::arg("implementation"));
    module.def("porter_stem", &py_porter_stem, py::arg("word"));
    module.def("implementations", &py_implementations);
    module.def("built_with_cuda", [] { return kBuiltWithCuda; });
    module.def("cuda_devices", &py_cuda_devices);
}

}  // namespace
}  // namespace leakrepro
