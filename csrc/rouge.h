// ROUGE-L of groups of texts: one reference and its candidates.
//
// C.-Y. Lin, "ROUGE: A package for automatic evaluation of summaries", 2004, section 3.1, with the
// tokens and the arithmetic of the Python package rouge_score 0.1.2, whose results these equal bit
// for bit: P = LCS / candidate tokens, R = LCS / reference tokens, F = 2 P R / (P + R).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "dispatch.h"
#include "text/text.h"

namespace leakrepro {

// Group g is references[g] with candidates[offsets[g]] up to candidates[offsets[g + 1]].
struct Groups {
    const std::vector<Text>& references;
    const std::vector<Text>& candidates;
    const std::vector<std::size_t>& offsets;
};

// One value a candidate, in the order of Groups::candidates.
struct Measures {
    double* precision;
    double* recall;
    double* fmeasure;

    // Measures of a slice of candidates from their LCS and numbers of tokens, with the same
    // operations in the same order as rouge_score.
    void write(std::size_t first, std::size_t count, const std::int32_t* lengths,
               const std::int32_t* totals, std::size_t reference_tokens) const;
};

// A part of a group: the work of one task.
struct Slice {
    std::size_t group, first, count;
};

// Cuts groups of offsets[g + 1] - offsets[g] candidates into slices that one task can do.
std::vector<Slice> cut_into_slices(const std::vector<std::size_t>& offsets);

// Scores all groups over at most `threads` threads; the results do not depend on their number.
// poll() is called from the calling thread now and then, and may throw to end the work early.
void rouge_l(const Groups& groups, bool stem, const Implementation& implementation,
             std::size_t threads, const std::function<void()>& poll, const Measures& measures);

}  // namespace leakrepro
