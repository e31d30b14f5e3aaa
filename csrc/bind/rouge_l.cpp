#include "rouge.h"

#include "bind/bind.h"
#include "bind/python.h"
#include "text/utf8.h"

namespace py = pybind11;

namespace leakrepro {
namespace {

// Texts where Python or Arrow keeps them, and references to the owners: the caller's lists may
// change once the GIL is free.
struct HeldTexts {
    std::vector<Text> texts;
    std::vector<py::object> held;

    // `name(i)` is what an error calls item i.
    template <class Name>
    void add(const py::list& strings, const Name& name) {
        PyObject* const list = strings.ptr();
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); ++i) {
            // Strings lie anywhere in memory.
            constexpr Py_ssize_t kAhead = 8;
            if (i + kAhead < PyList_GET_SIZE(list)) {
                __builtin_prefetch(PyList_GET_ITEM(list, i + kAhead));
            }
            auto text = py::reinterpret_borrow<py::object>(PyList_GET_ITEM(list, i));
            if (!PyUnicode_Check(text.ptr())) refuse(name(static_cast<std::size_t>(i)), text);
            texts.push_back(view(text));
            held.push_back(std::move(text));
        }
    }

    // `arrow` is (bytes, offsets) of an Arrow array of large strings without nulls.
    void add(const py::tuple& arrow) {
        const auto bytes = arrow[0].cast<py::array_t<std::uint8_t, py::array::c_style>>();
        const auto offsets = arrow[1].cast<Offsets>();
        check_offsets(offsets, static_cast<std::size_t>(bytes.size()), "text offsets");
        texts.reserve(static_cast<std::size_t>(offsets.size() - 1));
        for (py::ssize_t i = 0; i + 1 < offsets.size(); ++i) {
            texts.push_back({bytes.data() + offsets.data()[i],
                             static_cast<std::size_t>(offsets.data()[i + 1] - offsets.data()[i]),
                             kUtf8});
        }
        held.push_back(arrow);
    }
};

// References: a list of strings, or a tuple for HeldTexts::add. Candidates: a list of such lists,
// or a tuple of three, the last being where those of each reference start and end.
struct HeldGroups {
    HeldTexts references, candidates;
    std::vector<std::size_t> offsets{0};

    HeldGroups(const py::object& reference_texts, const py::object& candidate_texts) {
        if (py::isinstance<py::tuple>(reference_texts)) {
            references.add(py::tuple(reference_texts));
        } else {
            references.add(py::list(reference_texts),
                           [](std::size_t i) { return "reference " + std::to_string(i); });
        }
        if (py::isinstance<py::tuple>(candidate_texts)) {
            const py::tuple arrow(candidate_texts);
            candidates.add(arrow);
            const auto starts = arrow[2].cast<Offsets>();
            check_offsets(starts, candidates.texts.size(), "groups");
            offsets.assign(starts.data(), starts.data() + starts.size());
        } else {
            for (const py::handle row : py::list(candidate_texts)) {
                if (!PyList_Check(row.ptr())) {
                    throw py::type_error("candidates must be a list of lists");
                }
                candidates.add(py::reinterpret_borrow<py::list>(row), [&](std::size_t j) {
                    return "candidate " + std::to_string(j) + " of reference " +
                           std::to_string(offsets.size() - 1);
                });
                offsets.push_back(candidates.texts.size());
            }
        }
        if (references.texts.size() + 1 != offsets.size()) {
            throw py::value_error("references and candidates differ in length");
        }
    }
};

void py_rouge_l(const py::object& references, const py::object& candidates,
                Output<double> precision, Output<double> recall, Output<double> fmeasure,
                bool stem, std::size_t threads, const std::string& name) {
    const Implementation& chosen = implementation(name);
    const HeldGroups held(references, candidates);
    const Groups groups{held.references.texts, held.candidates.texts, held.offsets};
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
