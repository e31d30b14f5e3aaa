// LCS lengths and ROUGE-L of groups of token ids; a group is a reference and its candidates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "dispatch.h"
#include "rouge.h"

namespace leakrepro {

// Concatenated sequences: sequence i is ids[offsets[i]] to ids[offsets[i + 1] - 1].
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
    int width;             // bytes per id, for references and candidates; ids are unsigned
    std::size_t distinct;  // all ids of references are below it; 256 for ids of one byte
    // Group g is reference g with candidates offsets[g] to offsets[g + 1] - 1, or with all
    // candidates if offsets is null.
    const std::int64_t* offsets;
};

// Both write one entry per pair, in the order of the groups. `threads` and `poll` are as in
// rouge_l.
void lcs_length(const IdGroups& groups, const Implementation& implementation, std::size_t threads,
                const std::function<void()>& poll, std::int32_t* lengths);
void rouge_l_ids(const IdGroups& groups, const Implementation& implementation, std::size_t threads,
                 const std::function<void()>& poll, const Measures& measures);

}  // namespace leakrepro
