#include "bind/python.h"

namespace py = pybind11;

namespace leakrepro {

void check_offsets(const Offsets& offsets, std::size_t end, const std::string& what) {
    if (offsets.ndim() != 1 || offsets.size() == 0) {
        throw py::value_error(what + " must be one-dimensional and have at least one entry");
    }
    std::int64_t before = 0;
    for (py::ssize_t i = 0; i < offsets.size(); ++i) {
        const std::int64_t value = offsets.data()[i];
        if (value < before) {
            throw py::value_error(what + "[" + std::to_string(i) + "] is " +
                                  std::to_string(value) + ": offsets must not fall or be negative");
        }
        before = value;
    }
    if (static_cast<std::size_t>(before) > end) {
        throw py::value_error(what + " end at " + std::to_string(before) + ", but there are only " +
                              std::to_string(end));
    }
}

Text view(py::handle text) {
#if PY_VERSION_HEX < 0x030C0000
    if (PyUnicode_READY(text.ptr()) != 0) throw py::error_already_set();
#endif
    return {PyUnicode_DATA(text.ptr()), static_cast<std::size_t>(PyUnicode_GET_LENGTH(text.ptr())),
            static_cast<int>(PyUnicode_KIND(text.ptr()))};
}

void refuse(const std::string& what, py::handle object) {
    throw py::type_error(what + " must be a string, not " +
                         py::str(py::type::handle_of(object).attr("__name__")).cast<std::string>());
}

}  // namespace leakrepro
