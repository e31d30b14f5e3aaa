// LCS and ROUGE-L of groups of token ids: one reference and its candidates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "dispatch.h"
#include "rouge.h"

namespace leakrepro {

// Sequences back to back: number i is ids[offsets[i]] up to ids[offsets[i + 1]].
struct IdSequences {
    const void* ids;
    const std::int64_t* offsets;
    std::size_t count;

    std::size_t size_of(std::size_t i) const {
        return static_cast<std::size_t>(offsets[i + 1] - offsets[i]);
    }
};

struct IdGroups {
    IdSequences references;
    IdSequences candidates;
    int width;             // bytes of an id, on both sides; compared as unsigned numbers
    std::size_t distinct;  // all ids of references are below it; 256 where an id has one byte
    // Group g is reference g with candidates offsets[g] up to offsets[g + 1]; with all of them
    // where there are no offsets.
    const std::int64_t* offsets;
};

// Both take one entry of the output for each pair, group by group, and run as rouge_l does.
void lcs_length(const IdGroups& groups, const Implementation& implementation, std::size_t threads,
                const std::function<void()>& poll, std::int32_t* lengths);
void rouge_l_ids(const IdGroups& groups, const Implementation& implementation, std::size_t threads,
                 const std::function<void()>& poll, const Measures& measures);

}  // namespace leakrepro
