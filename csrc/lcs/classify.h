// Ids of tokens to classes of one reference: see lcs.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lcs/lcs.h"

namespace leakrepro {

// Class by id, below `size`; ids beyond are in no reference. kSlack entries more may be read.
// The ids that have one are ids[0] (of class 1) up to ids[count].
struct ClassTable {
    const std::uint8_t* classes;
    std::size_t size;
    const std::uint32_t* ids;
    std::size_t count;
};

// Candidates as ids of `width` bytes (1, 2, 4 or 8, read as unsigned): candidate i is
// ids[offsets[i]] up to ids[offsets[i + 1]].
struct IdCandidates {
    const void* ids;
    int width;
    const std::int64_t* offsets;
    std::size_t count;
};

// Writes those classes of each candidate that are not 0. A table for ids of one byte has 256
// entries.
using Classify = void (*)(const IdCandidates& candidates, const ClassTable& table,
                          const Lcs::ShortRoom& room);

void classify_scalar(const IdCandidates&, const ClassTable&, const Lcs::ShortRoom&);
void classify_avx512(const IdCandidates&, const ClassTable&, const Lcs::ShortRoom&);

// The same for one candidate and classes of any number; returns the end of what it wrote.
template <class Id, class Class, class Out>
Out* classify(const Id* ids, std::size_t count, const Class* classes, std::size_t size, Out* out) {
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
