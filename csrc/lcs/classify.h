// Ids of tokens to classes of one reference: see lcs.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lcs/lcs.h"

namespace leakrepro {

// Class by id, below `size`; ids beyond are in no reference. kSlack entries more may be read.
struct ClassTable {
    const std::uint8_t* classes;
    std::size_t size;
};

// Writes the classes of `count` ids of `width` bytes (1, 2, 4 or 8, read as unsigned) that are not
// 0, and returns the end of them. A table for ids of one byte has 256 entries. May write
// Lcs::kSlack entries more.
using Classify = std::uint8_t* (*)(const void* ids, int width, std::size_t count,
                                   const ClassTable& table, std::uint8_t* out);

std::uint8_t* classify_scalar(const void*, int, std::size_t, const ClassTable&, std::uint8_t*);
std::uint8_t* classify_avx512(const void*, int, std::size_t, const ClassTable&, std::uint8_t*);

// The same with classes of any number.
template <class Id, class Class>
Class* classify(const Id* ids, std::size_t count, const Class* classes, std::size_t size,
                Class* out) {
    for (std::size_t i = 0; i < count; ++i) {
        out = append(out, ids[i] < size ? classes[ids[i]] : Class{0});
    }
    return out;
}

// Calls with_type(pointer to unsigned integers of `width` bytes).
template <class WithType>
auto with_id_type(const void* ids, int width, WithType&& with_type) {
    switch (width) {
        case 1: return with_type(static_cast<const std::uint8_t*>(ids));
        case 2: return with_type(static_cast<const std::uint16_t*>(ids));
        case 4: return with_type(static_cast<const std::uint32_t*>(ids));
        default: return with_type(static_cast<const std::uint64_t*>(ids));
    }
}

}  // namespace leakrepro
