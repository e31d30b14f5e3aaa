// ROUGE-N, ROUGE-L and ROUGE-Lsum of summaries, as the Python package rouge_score 0.1.2 has them.
//
// C.-Y. Lin, "ROUGE: A package for automatic evaluation of summaries", 2004: ROUGE-N is section 2,
// ROUGE-L 3.1; ROUGE-Lsum is 3.2 with every token counted at most as often as each side has it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "dispatch.h"
#include "lcs/lcs.h"
#include "rouge.h"
#include "scorer/ngrams.h"
#include "scorer/union_lcs.h"
#include "text/utf8.h"

namespace leakrepro {

// A kind of score: n for ROUGE-N.
using RougeType = int;
constexpr RougeType kRougeL = 0, kRougeLsum = -1;

// The sentences of a text: number i is tokens[ends[i - 1]] up to tokens[ends[i]].
struct Sentences {
    std::vector<std::uint32_t> tokens;
    std::vector<std::size_t> ends;

    std::size_t count() const { return ends.size(); }
    Sentence operator[](std::size_t i) const {
        const std::size_t begin = i == 0 ? 0 : ends[i - 1];
        return {tokens.data() + begin, ends[i] - begin};
    }
};

// A text as numbers of its tokens, and the same cut into sentences.
struct Summary {
    std::vector<std::uint32_t> tokens;
    Sentences sentences;
};

struct SummaryScore {
    double precision = 0, recall = 0, fmeasure = 0;
    bool is_empty = false;  // no score was computed, as a text has no token
};

// Scores candidates of one reference after the other, with buffers of its own.
class SummaryScorer {
  public:
    SummaryScorer(const std::vector<RougeType>& types, const Implementation& implementation);

    // Turns the numbers of both into classes of the reference, by a table of zeros that has an
    // entry for each number, and that is all zero again after end_reference().
    void set_reference(Summary& reference, std::vector<std::uint32_t>& class_of);
    void end_reference();

    // One score for each type.
    const std::vector<SummaryScore>& operator()(Summary& candidate);

  private:
    std::vector<RougeType> types_;
    std::size_t most_n_ = 0;
    Lcs lcs_;
    Ngrams ngrams_;
    UnionLcs union_;

    Summary reference_;
    std::vector<std::uint32_t>* class_of_ = nullptr;
    std::vector<std::uint32_t> numbers_;  // by class less one
    std::vector<std::size_t> shared_;
    std::vector<SummaryScore> scores_;
    std::vector<std::uint32_t> reference_left_, candidate_left_;  // not yet counted, by class

    std::uint32_t class_for(std::uint32_t number);
    std::size_t count_union(const Sentences& candidate);
};

// The whole texts, cut into sentences at line feeds. Calls of one text after the other share
// buffers.
class SummaryReader {
  public:
    explicit SummaryReader(const Implementation& implementation);

    void operator()(const Text& text, Vocabulary& vocabulary, Summary& summary);
    // The same with sentences that are texts of their own.
    void operator()(const Text& text, const std::vector<Text>& sentences, Vocabulary& vocabulary,
                    Summary& summary);

  private:
    Reader reader_;
    FindWords find_words_;
    Tokens tokens_;

    void append(const Text& text, Vocabulary& vocabulary, std::vector<std::uint32_t>& numbers);
};

// Scores all groups as rouge_l does; measures[t] takes those of types[t].
void score_summaries(const Groups& groups, const std::vector<RougeType>& types, bool stem,
                     const Implementation& implementation, std::size_t threads,
                     const std::function<void()>& poll, const std::vector<Measures>& measures);

}  // namespace leakrepro
