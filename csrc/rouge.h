// ROUGE-L of groups of texts: one reference and its candidates.
//
// C.-Y. Lin, "ROUGE: A package for automatic evaluation of summaries", 2004, section 3.1, with the
// tokens and the arithmetic of the Python package rouge_score 0.1.2, whose results these equal bit
// for bit: P = LCS / candidate tokens, R = LCS / reference tokens, F = 2 P R / (P + R).
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "dispatch.h"
#include "text/text.h"

namespace leakrepro {

// Group g is references[g] with candidates[offsets[g]] up to candidates[offsets[g + 1]].
struct Groups {
    std::vector<Text> references;
    std::vector<Text> candidates;
    std::vector<std::size_t> offsets;
};

// One value a candidate, in the order of Groups::candidates.
struct Measures {
    double* precision;
    double* recall;
    double* fmeasure;
};

// Scores all groups over at most `threads` threads; the results do not depend on their number.
// poll() is called from the calling thread now and then, and may throw to end the work early.
void rouge_l(const Groups& groups, bool stem, const Implementation& implementation,
             std::size_t threads, const std::function<void()>& poll, const Measures& measures);

}  // namespace leakrepro
