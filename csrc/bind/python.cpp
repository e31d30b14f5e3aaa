#include "bind/python.h"

namespace py = pybind11;

namespace leakrepro {

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
