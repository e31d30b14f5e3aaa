// What the bindings share: texts read where Python keeps them, output arrays, Ctrl-C.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "text/text.h"

namespace leakrepro {

// C order; an array of another type is refused, as a converted copy would not reach the caller.
template <class T>
using Output = pybind11::array_t<T, pybind11::array::c_style>;

// The entries of an output array. Throws ValueError unless it is one-dimensional and of this size.
template <class T>
T* writable(Output<T>& output, std::size_t size) {
    if (output.ndim() != 1 || static_cast<std::size_t>(output.size()) != size) {
        throw pybind11::value_error("an output array must have one entry for each candidate");
    }
    return output.mutable_data();  // throws where the array is read-only
}

using Offsets = pybind11::array_t<std::int64_t, pybind11::array::c_style>;

// Throws ValueError unless the offsets rise from 0 or more to `end` or less. `what` names them.
void check_offsets(const Offsets& offsets, std::size_t end, const std::string& what);

// The characters of a string, which live as long as the string does.
Text view(pybind11::handle text);

// Throws TypeError: `what` must be a string, and `object` is not.
[[noreturn]] void refuse(const std::string& what, pybind11::handle object);

// Lets Ctrl-C through, at most a hundred times a second: taking the GIL is not free.
class SignalPoll {
  public:
    void operator()() {
        const auto now = std::chrono::steady_clock::now();
        if (now - last_ < std::chrono::milliseconds(10)) return;
        last_ = now;
        const pybind11::gil_scoped_acquire gil;
        if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
    }

  private:
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace leakrepro
