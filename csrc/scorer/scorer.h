// ROUGE-N, ROUGE-L and ROUGE-Lsum of summaries, equal to the Python package rouge_score 0.1.2.
//
// C.-Y. Lin, "ROUGE: A package for automatic evaluation of summaries", 2004: ROUGE-N is section 2,
// ROUGE-L section 3.1. ROUGE-Lsum is section 3.2, where a token is counted at most as often as it
// occurs in each of the two texts.
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

// The type of a score: n for ROUGE-N, or one of the constants.
using RougeType = int;
constexpr RougeType kRougeL = 0, kRougeLsum = -1;

// The sentences of a text: sentence i is tokens[ends[i - 1]] to tokens[ends[i] - 1].
struct Sentences {
    std::vector<std::uint32_t> tokens;
    std::vector<std::size_t> ends;

    std::size_t count() const { return ends.size(); }
    Sentence operator[](std::size_t i) const {
        const std::size_t begin = i == 0 ? 0 : ends[i - 1];
        return {tokens.data() + begin, ends[i] - begin};
    }
};

// The tokens of a text as numbers, for the whole text and split into sentences.
struct Summary {
    std::vector<std::uint32_t> tokens;
    Sentences sentences;
};

struct SummaryScore {
    double precision = 0, recall = 0, fmeasure = 0;
    bool is_empty = false;  // true if a text does not have tokens; the score is then 0
};

// Scores one candidate of a reference per call, with its own buffers.
class SummaryScorer {
  public:
    SummaryScorer(const std::vector<RougeType>& types, const Implementation& implementation);

    // Sets the reference. class_of maps numbers to classes of the reference: it must be all zero
    // and have an entry for each number. end_reference() sets it to zero again.
    void set_reference(Summary& reference, std::vector<std::uint32_t>& class_of);
    void end_reference();

    // Returns one score per type.
    const std::vector<SummaryScore>& operator()(Summary& candidate);

  private:
    std::vector<RougeType> types_;
    std::size_t most_n_ = 0;
    Lcs lcs_;
    Ngrams ngrams_;
    UnionLcs union_;

    Summary reference_;
    std::vector<std::uint32_t>* class_of_ = nullptr;
    std::vector<std::uint32_t> numbers_;  // indexed by class - 1
    std::vector<std::size_t> shared_;
    std::vector<SummaryScore> scores_;
    std::vector<std::uint32_t> reference_left_, candidate_left_;  // by class: not yet counted

    std::uint32_t class_for(std::uint32_t number);
    std::size_t count_union(const Sentences& candidate);
};

// Tokenises a text and splits it into sentences at line feeds. Successive calls share buffers.
class SummaryReader {
  public:
    explicit SummaryReader(const Implementation& implementation);

    void operator()(const Text& text, Vocabulary& vocabulary, Summary& summary);
    // The same with given sentences.
    void operator()(const Text& text, const std::vector<Text>& sentences, Vocabulary& vocabulary,
                    Summary& summary);

  private:
    Reader reader_;
    FindWords find_words_;
    Tokens tokens_;

    void append(const Text& text, Vocabulary& vocabulary, std::vector<std::uint32_t>& numbers);
};

// Scores all groups, as rouge_l does. measures[t] gets the scores of types[t].
void score_summaries(const Groups& groups, const std::vector<RougeType>& types, bool stem,
                     const Implementation& implementation, std::size_t threads,
                     const std::function<void()>& poll, const std::vector<Measures>& measures);

}  // namespace leakrepro
