// One longest common subsequence of two sentences, for ROUGE-Lsum.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace leakrepro {

// A part of a sequence of classes, as in lcs.h.
struct Sentence {
    const std::uint32_t* tokens;
    std::size_t size;
};

// Finds the tokens of a sentence that are in its longest common subsequence with another sentence.
// If there are several such subsequences, it is the one that rouge_score's backtracking finds.
//
// In the dynamic programming table t, backtracking from (i, j) takes a match if there is one.
// Otherwise it goes left if t[i][j - 1] > t[i - 1][j], and up if not. Without a match, t[i][j] is
// the larger of the two, so it goes left if and only if t[i][j] > t[i - 1][j], that is if bit i - 1
// of the bit vector of column j (lcs.h) is zero. The bit vectors of all columns need 1/64 of the
// table's memory.
class UnionLcs {
  public:
    // The sentence must outlive the calls of add. `classes` is the largest class.
    void set_reference(const Sentence& reference, std::size_t classes);

    // Adds the LCS with this sentence to the union.
    void add(const Sentence& candidate);

    // Whether token i of the reference is in the union.
    bool operator[](std::size_t i) const { return union_[i / 64] >> (i % 64) & 1; }

  private:
    Sentence reference_{};
    std::size_t words_ = 0;              // words per bit vector
    std::vector<std::uint32_t> row_of_;  // row of masks_, by class
    std::vector<std::uint32_t> rows_;    // class of each row from row 1 on; row 0 is zero
    std::vector<std::uint64_t> masks_;
    std::vector<std::uint64_t> union_;
    std::vector<std::uint64_t> block_;        // columns of one part of the candidate
    std::vector<std::uint64_t> checkpoints_;  // the column before each part

    void next_column(const std::uint64_t* before, std::uint32_t token, std::uint64_t* after) const;
    void fill_block(const std::uint64_t* before, const std::uint32_t* tokens, std::size_t count);
};

}  // namespace leakrepro
