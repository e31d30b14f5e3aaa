// ROUGE-L of groups of texts; a group is a reference and its candidates.
//
// C.-Y. Lin, "ROUGE: A package for automatic evaluation of summaries", 2004, section 3.1. Tokens
// and arithmetic are those of the Python package rouge_score 0.1.2, and the results are equal bit
// for bit: P = LCS / candidate tokens, R = LCS / reference tokens, F = 2 P R / (P + R).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "dispatch.h"
#include "text/text.h"

namespace leakrepro {

// Group g is references[g] with candidates[offsets[g]] to candidates[offsets[g + 1] - 1].
struct Groups {
    const std::vector<Text>& references;
    const std::vector<Text>& candidates;
    const std::vector<std::size_t>& offsets;
};

// One value per candidate, in the order of Groups::candidates.
struct Measures {
    double* precision;
    double* recall;
    double* fmeasure;

    // Writes the measures of `count` candidates from their LCS lengths and numbers of tokens
    // (`totals`), with the same operations in the same order as rouge_score.
    void write(std::size_t first, std::size_t count, const std::int32_t* lengths,
               const std::int32_t* totals, std::size_t reference_tokens) const;
};

// Some candidates of a group: the work of one task.
struct Slice {
    std::size_t group, first, count;
};

// Splits groups of offsets[g + 1] - offsets[g] candidates into slices, one per task.
std::vector<Slice> cut_into_slices(const std::vector<std::size_t>& offsets);

// Scores all groups with at most `threads` threads; the results do not depend on their number. The
// calling thread regularly calls poll(), which may throw to stop the work.
void rouge_l(const Groups& groups, bool stem, const Implementation& implementation,
             std::size_t threads, const std::function<void()>& poll, const Measures& measures);

}  // namespace leakrepro
