#include "rouge.h"

#include <algorithm>
#include <optional>

#include "lcs/lcs.h"
#include "parallel.h"
#include "text/vocabulary.h"

namespace leakrepro {
namespace {

// Starting a thread costs about as much as scoring this many characters.
constexpr std::size_t kCharactersPerThread = 1 << 16;

// Sampling at temperature 1 makes up words without end; forget them all now and then.
constexpr std::uint32_t kMostWords = 1 << 20;

// Scores one group after the other, with the buffers of one thread.
class Scorer {
  public:
    Scorer(const Groups& groups, bool stem, const Implementation& implementation,
           const Measures& measures)
        : groups_(groups),
          stem_(stem),
          tokenise_(implementation.tokenise),
          lcs_(implementation.lcs_short, implementation.lcs_band),
          measures_(measures) {}

    void operator()(std::size_t group) {
        const std::size_t first = groups_.offsets[group];
        const std::size_t count = groups_.offsets[group + 1] - first;
        if (!vocabulary_ || vocabulary_->size() > kMostWords) vocabulary_.emplace(stem_);
        read_reference(groups_.references[group]);
        read_candidates(groups_.candidates.data() + first, count);
        lengths_.resize(count);
        lcs_(reference_, classes_, {matches_.data(), offsets_.data(), count}, lengths_.data());
        for (std::size_t i = 0; i < count; ++i) write(first + i, lengths_[i], totals_[i]);
        for (std::uint32_t word : reference_words_) class_of_[word] = 0;
    }

  private:
    const Groups& groups_;
    const bool stem_;
    const Tokenise tokenise_;
    Lcs lcs_;
    const Measures& measures_;

    std::optional<Vocabulary> vocabulary_;
    Tokens tokens_;
    std::vector<std::uint32_t> class_of_;         // by word; 0: not in this group's reference
    std::uint32_t classes_ = 0;                   // different words of the reference
    std::vector<std::uint32_t> reference_words_;  // each of them once
    std::vector<std::uint32_t> reference_;        // the reference as classes
    std::vector<std::uint32_t> matches_;          // candidate tokens that the reference has too
    std::vector<std::size_t> offsets_;            // of each candidate in matches_
    std::vector<std::size_t> totals_;             // all tokens of each candidate
    std::vector<std::size_t> lengths_;

    void read_reference(const Text& text) {
        reference_.clear();
        reference_words_.clear();
        classes_ = 0;
        tokenise_(text, tokens_);
        tokens_.for_each([&](const char* token, std::size_t length) {
            const std::uint32_t word = (*vocabulary_)(token, length);
            if (word >= class_of_.size()) class_of_.resize(vocabulary_->size());
            std::uint32_t& its_class = class_of_[word];
            if (its_class == 0) {
                its_class = ++classes_;
                reference_words_.push_back(word);
            }
            reference_.push_back(its_class);
        });
    }

    // Tokens that the reference does not have cannot be part of a common subsequence.
    void read_candidates(const Text* texts, std::size_t count) {
        matches_.clear();
        offsets_.assign(1, 0);
        totals_.clear();
        for (std::size_t i = 0; i < count; ++i) {
            tokenise_(texts[i], tokens_);
            tokens_.for_each([&](const char* token, std::size_t length) {
                const std::uint32_t word = (*vocabulary_)(token, length);
                if (word < class_of_.size() && class_of_[word] != 0) {
                    matches_.push_back(class_of_[word]);
                }
            });
            offsets_.push_back(matches_.size());
            totals_.push_back(tokens_.ends.size());
        }
    }

    // The same operations in the same order as rouge_score, so that every bit agrees.
    void write(std::size_t candidate, std::size_t length, std::size_t total) const {
        double precision = 0.0, recall = 0.0, fmeasure = 0.0;
        if (length > 0) {
            precision = static_cast<double>(length) / static_cast<double>(total);
            recall = static_cast<double>(length) / static_cast<double>(reference_.size());
            fmeasure = 2.0 * precision * recall / (precision + recall);
        }
        measures_.precision[candidate] = precision;
        measures_.recall[candidate] = recall;
        measures_.fmeasure[candidate] = fmeasure;
    }
};

}  // namespace

void rouge_l(const Groups& groups, bool stem, const Implementation& implementation,
             std::size_t threads, const std::function<void()>& poll, const Measures& measures) {
    std::size_t characters = 0;
    for (const Text& text : groups.candidates) characters += text.length;
    threads = std::min({threads, groups.references.size(), 1 + characters / kCharactersPerThread});
    run_tasks(
        groups.references.size(), threads,
        [&] { return Scorer(groups, stem, implementation, measures); }, poll);
}

}  // namespace leakrepro
