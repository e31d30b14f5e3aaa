// Maps ids of tokens to the classes of one reference (see lcs.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "lcs/lcs.h"

namespace leakrepro {

// classes[id] is the class of an id below `size`. Larger ids do not occur in the reference. kSlack
// entries more may be read. The ids of classes 1 to `count` are ids[0] to ids[count - 1].
struct ClassTable {
    const std::uint8_t* classes;
    std::size_t size;
    const std::uint32_t* ids;
    std::size_t count;
};

// Candidates as unsigned ids of `width` bytes (1, 2, 4 or 8): candidate i is ids[offsets[i]] to
// ids[offsets[i + 1] - 1].
struct IdCandidates {
    const void* ids;
    int width;
    const std::int64_t* offsets;
    std::size_t count;
};

// Writes the nonzero classes of each candidate. A table for ids of one byte must have 256 entries.
using Classify = void (*)(const IdCandidates& candidates, const ClassTable& table,
                          const Lcs::ShortBuffer& buffer);

void classify_scalar(const IdCandidates&, const ClassTable&, const Lcs::ShortBuffer&);
void classify_avx512(const IdCandidates&, const ClassTable&, const Lcs::ShortBuffer&);

// The same for one candidate and any number of classes. Returns the end of the output.
template <class Id, class Class, class Out>
Out* classify(const Id* ids, std::size_t count, const Class* classes, std::size_t size, Out* out) {
    for (std::size_t i = 0; i < count; ++i) {
        out = append(out, ids[i] < size ? classes[ids[i]] : Class{0});
    }
    return out;
}

// Calls with_type with a pointer to unsigned integers of `width` bytes.
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
