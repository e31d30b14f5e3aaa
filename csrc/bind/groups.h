// Converts groups of texts from Python objects.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "bind/python.h"
#include "rouge.h"
#include "text/utf8.h"

namespace leakrepro {

// Views of texts in Python's or Arrow's memory, with references to their owners, because the
// caller's lists may change while the GIL is released.
struct HeldTexts {
    std::vector<Text> texts;
    std::vector<pybind11::object> held;

    // `name(i)` is the name of item i in an error message.
    template <class Name>
    void add(const pybind11::list& strings, const Name& name) {
        PyObject* const list = strings.ptr();
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); ++i) {
            // The strings are not contiguous in memory.
            constexpr Py_ssize_t kAhead = 8;
            if (i + kAhead < PyList_GET_SIZE(list)) {
                __builtin_prefetch(PyList_GET_ITEM(list, i + kAhead));
            }
            auto text = pybind11::reinterpret_borrow<pybind11::object>(PyList_GET_ITEM(list, i));
            if (!PyUnicode_Check(text.ptr())) refuse(name(static_cast<std::size_t>(i)), text);
            texts.push_back(view(text));
            held.push_back(std::move(text));
        }
    }

    // `arrow` is the tuple (bytes, offsets) of an Arrow array of large strings without nulls.
    void add(const pybind11::tuple& arrow) {
        using Bytes = pybind11::array_t<std::uint8_t, pybind11::array::c_style>;
        const auto bytes = arrow[0].cast<Bytes>();
        const auto offsets = arrow[1].cast<Offsets>();
        check_offsets(offsets, static_cast<std::size_t>(bytes.size()), "text offsets");
        texts.reserve(static_cast<std::size_t>(offsets.size() - 1));
        for (pybind11::ssize_t i = 0; i + 1 < offsets.size(); ++i) {
            texts.push_back({bytes.data() + offsets.data()[i],
                             static_cast<std::size_t>(offsets.data()[i + 1] - offsets.data()[i]),
                             kUtf8});
        }
        held.push_back(arrow);
    }
};

// References are a list of strings or a tuple for HeldTexts::add. Candidates are a list of lists of
// strings, or a tuple (bytes, offsets, groups): candidates groups[g] to groups[g + 1] - 1 belong to
// reference g.
struct HeldGroups {
    HeldTexts references, candidates;
    std::vector<std::size_t> offsets{0};

    HeldGroups(const pybind11::object& reference_texts,
               const pybind11::object& candidate_texts) {
        if (pybind11::isinstance<pybind11::tuple>(reference_texts)) {
            references.add(pybind11::tuple(reference_texts));
        } else {
            references.add(pybind11::list(reference_texts),
                           [](std::size_t i) { return "reference " + std::to_string(i); });
        }
        if (pybind11::isinstance<pybind11::tuple>(candidate_texts)) {
            const pybind11::tuple arrow(candidate_texts);
            candidates.add(arrow);
            const auto starts = arrow[2].cast<Offsets>();
            check_offsets(starts, candidates.texts.size(), "groups");
            offsets.assign(starts.data(), starts.data() + starts.size());
        } else {
            for (const pybind11::handle row : pybind11::list(candidate_texts)) {
                if (!PyList_Check(row.ptr())) {
                    throw pybind11::type_error("candidates must be a list of lists");
                }
                candidates.add(pybind11::reinterpret_borrow<pybind11::list>(row), [&](std::size_t j) {
                    return "candidate " + std::to_string(j) + " of reference " +
                           std::to_string(offsets.size() - 1);
                });
                offsets.push_back(candidates.texts.size());
            }
        }
        if (references.texts.size() + 1 != offsets.size()) {
            throw pybind11::value_error("references and candidates differ in length");
        }
    }

    Groups view() const { return {references.texts, candidates.texts, offsets}; }
};

}  // namespace leakrepro
