#include <pybind11/stl.h>

#include "bind/bind.h"
#include "bind/python.h"
#include "dispatch.h"
#include "text/cache.h"
#include "text/porter.h"
#include "text/vocabulary.h"

namespace py = pybind11;

namespace leakrepro {
namespace {

std::vector<std::string> py_tokenise(const py::str& text, bool stem, const std::string& name) {
    Tokens tokens;
    implementation(name).tokenise(view(text), tokens);
    std::vector<std::string> result;
    tokens.for_each([&](const char* token) {
        std::string word(token);
        if (stem) word.resize(stem_token(word.data(), word.size()));
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

}  // namespace

void bind_text(py::module_& module) {
    module.def("tokenise", &py_tokenise, py::arg("text"), py::kw_only(), py::arg("stem"),
               py::arg("implementation"));
    module.def("forget_words", &forget_words);
    module.def("porter_stem", &py_porter_stem, py::arg("word"));
}

}  // namespace leakrepro
