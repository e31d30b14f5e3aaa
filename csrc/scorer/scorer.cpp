#include "scorer/scorer.h"

#include <algorithm>
#include <memory>

#include "parallel.h"
#include "text/cache.h"

namespace leakrepro {
namespace {

// Uses the same operations in the same order as rouge_score.
SummaryScore score(std::size_t hits, std::size_t candidate, std::size_t reference) {
    SummaryScore result;
    result.precision = static_cast<double>(hits) / static_cast<double>(candidate);
    result.recall = static_cast<double>(hits) / static_cast<double>(reference);
    const double sum = result.precision + result.recall;
    if (sum > 0) result.fmeasure = 2.0 * result.precision * result.recall / sum;
    return result;
}

std::size_t ngrams_of(std::size_t tokens, std::size_t n) {
    return std::max<std::size_t>(tokens + 1 > n ? tokens + 1 - n : 0, 1);
}

}  // namespace

SummaryScorer::SummaryScorer(const std::vector<RougeType>& types,
                             const Implementation& implementation)
    : types_(types), lcs_(implementation.lcs) {
    for (RougeType type : types) {
        most_n_ = std::max(most_n_, static_cast<std::size_t>(std::max(type, 0)));
    }
}

std::uint32_t SummaryScorer::class_for(std::uint32_t number) {
    std::uint32_t& its_class = (*class_of_)[number];
    if (its_class == 0) {
        numbers_.push_back(number);
        its_class = static_cast<std::uint32_t>(numbers_.size());
    }
    return its_class;
}

void SummaryScorer::set_reference(Summary& reference, std::vector<std::uint32_t>& class_of) {
    class_of_ = &class_of;
    numbers_.clear();
    std::swap(reference_, reference);
    for (std::uint32_t& token : reference_.tokens) token = class_for(token);
    for (std::uint32_t& token : reference_.sentences.tokens) token = class_for(token);
    ngrams_.set_reference(reference_.tokens, most_n_);
}

void SummaryScorer::end_reference() {
    for (std::uint32_t number : numbers_) (*class_of_)[number] = 0;
    class_of_ = nullptr;
}

const std::vector<SummaryScore>& SummaryScorer::operator()(Summary& candidate) {
    for (std::uint32_t& token : candidate.tokens) token = (*class_of_)[token];
    for (std::uint32_t& token : candidate.sentences.tokens) token = (*class_of_)[token];
    const std::size_t ours = reference_.tokens.size(), theirs = candidate.tokens.size();
    if (most_n_ > 0) ngrams_.count_shared(candidate.tokens, shared_);
    scores_.clear();
    for (RougeType type : types_) {
        SummaryScore result;
        if (type == kRougeL) {
            result.is_empty = ours == 0 || theirs == 0;
            if (!result.is_empty) {
                lcs_.set_reference(reference_.tokens.data(), ours, numbers_.size());
                lcs_.add(theirs, [&](auto* out) {
                    for (std::uint32_t token : candidate.tokens) out = append(out, token);
                    return out;
                });
                std::int32_t length;
                lcs_.get(&length);
                result = score(static_cast<std::size_t>(length), theirs, ours);
            }
        } else if (type == kRougeLsum) {
            const std::size_t n = candidate.sentences.tokens.size();
            const std::size_t m = reference_.sentences.tokens.size();
            result.is_empty = n == 0 || m == 0;
            if (!result.is_empty) result = score(count_union(candidate.sentences), n, m);
        } else {
            const auto n = static_cast<std::size_t>(type);
            result = score(shared_[n - 1], ngrams_of(theirs, n), ngrams_of(ours, n));
        }
        scores_.push_back(result);
    }
    return scores_;
}

// Counts the tokens of the reference in the union of its LCS with all sentences of the candidate.
std::size_t SummaryScorer::count_union(const Sentences& candidate) {
    const Sentences& reference = reference_.sentences;
    reference_left_.assign(numbers_.size() + 1, 0);
    candidate_left_.assign(numbers_.size() + 1, 0);
    for (std::uint32_t token : reference.tokens) ++reference_left_[token];
    for (std::uint32_t token : candidate.tokens) ++candidate_left_[token];
    std::size_t hits = 0;
    for (std::size_t r = 0; r < reference.count(); ++r) {
        const Sentence sentence = reference[r];
        union_.set_reference(sentence, numbers_.size());
        for (std::size_t c = 0; c < candidate.count(); ++c) union_.add(candidate[c]);
        for (std::size_t i = 0; i < sentence.size; ++i) {
            const std::uint32_t token = sentence.tokens[i];
            if (!union_[i] || candidate_left_[token] == 0 || reference_left_[token] == 0) continue;
            ++hits;
            --candidate_left_[token];
            --reference_left_[token];
        }
    }
    return hits;
}

SummaryReader::SummaryReader(const Implementation& implementation)
    : reader_(implementation.tokenise), find_words_(implementation.find_words) {}

void SummaryReader::append(const Text& text, Vocabulary& vocabulary,
                           std::vector<std::uint32_t>& numbers) {
    reader_(text, tokens_);
    const std::vector<std::uint32_t>& found = vocabulary(tokens_, find_words_);
    numbers.insert(numbers.end(), found.begin(), found.end());
}

void SummaryReader::operator()(const Text& text, Vocabulary& vocabulary, Summary& summary) {
    const int step = std::max(text.width, 1);
    const auto* const data = static_cast<const char*>(text.data);
    const auto is_feed = [&](std::size_t i) {
        switch (text.width) {
            case 2: return static_cast<const std::uint16_t*>(text.data)[i] == '\n';
            case 4: return static_cast<const std::uint32_t*>(text.data)[i] == '\n';
            default: return data[i] == '\n';
        }
    };
    summary.sentences.tokens.clear();
    summary.sentences.ends.clear();
    std::size_t begin = 0;
    for (std::size_t i = 0; i <= text.length; ++i) {
        if (i < text.length && !is_feed(i)) continue;
        const Text line{data + begin * static_cast<std::size_t>(step), i - begin, text.width};
        append(line, vocabulary, summary.sentences.tokens);
        summary.sentences.ends.push_back(summary.sentences.tokens.size());
        begin = i + 1;
    }
    summary.tokens = summary.sentences.tokens;
}

void SummaryReader::operator()(const Text& text, const std::vector<Text>& sentences,
                               Vocabulary& vocabulary, Summary& summary) {
    summary = {};
    append(text, vocabulary, summary.tokens);
    for (const Text& sentence : sentences) {
        append(sentence, vocabulary, summary.sentences.tokens);
        summary.sentences.ends.push_back(summary.sentences.tokens.size());
    }
}

namespace {

// Scores one slice per call, with the buffers of one thread.
class SliceScorer {
  public:
    SliceScorer(const Groups& groups, const std::vector<Slice>& slices,
                const std::vector<RougeType>& types, bool stem,
                const Implementation& implementation, const std::vector<Measures>& measures)
        : groups_(groups),
          slices_(slices),
          stem_(stem),
          reader_(implementation),
          scorer_(types, implementation),
          measures_(measures) {}

    void operator()(std::size_t task) {
        const Slice& slice = slices_[task];
        std::unique_ptr<Words> words = take_words(stem_);
        reader_(groups_.references[slice.group], words->vocabulary, summary_);
        words->resize_classes();
        scorer_.set_reference(summary_, words->class_of);
        for (std::size_t i = slice.first; i < slice.first + slice.count; ++i) {
            reader_(groups_.candidates[i], words->vocabulary, summary_);
            words->resize_classes();
            const std::vector<SummaryScore>& scores = scorer_(summary_);
            for (std::size_t t = 0; t < scores.size(); ++t) {
                measures_[t].precision[i] = scores[t].precision;
                measures_[t].recall[i] = scores[t].recall;
                measures_[t].fmeasure[i] = scores[t].fmeasure;
            }
        }
        scorer_.end_reference();
        give_words(std::move(words), stem_);
    }

  private:
    const Groups& groups_;
    const std::vector<Slice>& slices_;
    const bool stem_;
    SummaryReader reader_;
    SummaryScorer scorer_;
    const std::vector<Measures>& measures_;
    Summary summary_;
};

}  // namespace

void score_summaries(const Groups& groups, const std::vector<RougeType>& types, bool stem,
                     const Implementation& implementation, std::size_t threads,
                     const std::function<void()>& poll, const std::vector<Measures>& measures) {
    // Starting a thread costs about as much as scoring this many characters.
    constexpr std::size_t kCharactersPerThread = 1 << 14;
    const std::vector<Slice> slices = cut_into_slices(groups.offsets);
    std::size_t characters = 0;
    for (const Text& text : groups.candidates) characters += text.length;
    threads = std::min({threads, slices.size(), 1 + characters / kCharactersPerThread});
    run_tasks(
        slices.size(), threads,
        [&] { return SliceScorer(groups, slices, types, stem, implementation, measures); }, poll);
}

}  // namespace leakrepro
