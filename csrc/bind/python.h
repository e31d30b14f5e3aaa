// Shared by all bindings: views of Python strings, output arrays and signal handling.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "text/text.h"

namespace leakrepro {

// An output array in C order. Arrays of another type are rejected, because results in a converted
// copy would not reach the caller.
template <class T>
using Output = pybind11::array_t<T, pybind11::array::c_style>;

// The data of an output array. Throws ValueError if it is not one-dimensional or of another size.
template <class T>
T* writable(Output<T>& output, std::size_t size) {
    if (output.ndim() != 1 || static_cast<std::size_t>(output.size()) != size) {
        throw pybind11::value_error("an output array must have one entry for each candidate");
    }
    return output.mutable_data();  // throws if the array is read-only
}

using Offsets = pybind11::array_t<std::int64_t, pybind11::array::c_style>;

// Throws ValueError if the offsets decrease, are negative or exceed `end`. `what` is their name in
// the error message.
void check_offsets(const Offsets& offsets, std::size_t end, const std::string& what);

// A view of the characters of a string; valid as long as the string.
Text view(pybind11::handle text);

// Throws TypeError, because `object` is not a string. `what` is its name in the error message.
[[noreturn]] void refuse(const std::string& what, pybind11::handle object);

// Checks for Ctrl-C, at most 100 times per second because it acquires the GIL.
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
