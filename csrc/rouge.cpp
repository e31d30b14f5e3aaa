#include "rouge.h"

#include <algorithm>
#include <memory>

#include "lcs/lcs.h"
#include "parallel.h"
#include "text/cache.h"
#include "text/utf8.h"

namespace leakrepro {
namespace {

// Starting a thread costs about as much as scoring this many characters.
constexpr std::size_t kCharactersPerThread = 1 << 16;

// Larger groups are split between threads, each of which then tokenises the reference.
constexpr std::size_t kMostCandidates = 1024;

// Scores one slice per call, with the buffers of one thread.
class Scorer {
  public:
    Scorer(const Groups& groups, const std::vector<Slice>& slices, bool stem,
           const Implementation& implementation, const Measures& measures)
        : groups_(groups),
          slices_(slices),
          stem_(stem),
          reader_(implementation.tokenise),
          find_words_(implementation.find_words),
          lcs_(implementation.lcs),
          measures_(measures),
          words_(take_words(stem)) {}

    ~Scorer() {
        if (words_) give_words(std::move(words_), stem_);
    }
    Scorer(const Scorer&) = delete;
    Scorer& operator=(const Scorer&) = delete;

    void operator()(std::size_t task) {
        const Slice& slice = slices_[task];
        // If an exception is thrown, the words may be in an inconsistent state and are dropped.
        std::unique_ptr<Words> words = std::move(words_);
        if (words->vocabulary.size() > kMostWords) words = std::make_unique<Words>(stem_);
        read_reference(groups_.references[slice.group], *words);
        read_candidates(groups_.candidates.data() + slice.first, slice.count, *words);
        lengths_.resize(slice.count);
        lcs_.get(lengths_.data());
        measures_.write(slice.first, slice.count, lengths_.data(), totals_.data(),
                        reference_.size());
        for (std::uint32_t word : reference_words_) words->class_of[word] = 0;
        words_ = std::move(words);
    }

  private:
    const Groups& groups_;
    const std::vector<Slice>& slices_;
    const bool stem_;
    Reader reader_;
    const FindWords find_words_;
    Lcs lcs_;
    const Measures& measures_;

    std::unique_ptr<Words> words_;
    Tokens tokens_;
    std::vector<std::uint32_t> reference_words_;  // the different words of the reference
    std::vector<std::uint32_t> reference_;        // classes of the reference's tokens
    std::vector<std::int32_t> totals_;            // number of tokens of each candidate
    std::vector<std::int32_t> lengths_;

    void read_reference(const Text& text, Words& words) {
        reference_.clear();
        reference_words_.clear();
        tokens_.wanted.add_all();
        reader_(text, tokens_);
        tokens_.wanted.clear();
        const std::vector<std::uint32_t>& numbers = words.vocabulary(tokens_, find_words_);
        words.resize_classes();
        for (std::uint32_t word : numbers) {
            std::uint32_t& its_class = words.class_of[word];
            if (its_class == 0) {
                reference_words_.push_back(word);
                its_class = static_cast<std::uint32_t>(reference_words_.size());
                words.vocabulary.add_beginnings(word, tokens_.wanted);
            }
            reference_.push_back(its_class);
        }
        lcs_.set_reference(reference_.data(), reference_.size(), reference_words_.size());
    }

    // Only tokens that may occur in the reference are looked up; the others only count in totals_.
    void read_candidates(const Text* texts, std::size_t count, Words& words) {
        totals_.resize(count);
        for (std::size_t i = 0; i < count; ++i) {
            if (i + 2 < count) prefetch(texts[i + 2]);
            reader_(texts[i], tokens_);
            totals_[i] = static_cast<std::int32_t>(tokens_.size());
            const std::vector<std::uint32_t>& numbers = words.vocabulary(tokens_, find_words_);
            words.resize_classes();
            lcs_.add(numbers.size(), [&](auto* out) {
                for (std::uint32_t word : numbers) out = append(out, words.class_of[word]);
                return out;
            });
        }
    }

    // Prefetches the first 256 bytes of a text. The hardware prefetcher loads the rest.
    static void prefetch(const Text& text) {
        const char* data = static_cast<const char*>(text.data);
        for (std::size_t byte = 0; byte < 256; byte += 64) __builtin_prefetch(data + byte);
    }
};

}  // namespace

void Measures::write(std::size_t first, std::size_t count, const std::int32_t* lengths,
                     const std::int32_t* totals, std::size_t reference_tokens) const {
    const double reference = static_cast<double>(std::max<std::size_t>(reference_tokens, 1));
    double* const p = precision + first;
    double* const r = recall + first;
    double* const f = fmeasure + first;
    // If a length is 0, all measures are 0; dividing by at least 1 avoids 0 / 0.
    for (std::size_t i = 0; i < count; ++i) {
        p[i] = lengths[i] / static_cast<double>(std::max(totals[i], 1));
        r[i] = lengths[i] / reference;
        const double sum = p[i] + r[i];
        f[i] = 2.0 * p[i] * r[i] / (sum > 0.0 ? sum : 1.0);
    }
}

std::vector<Slice> cut_into_slices(const std::vector<std::size_t>& offsets) {
    std::vector<Slice> slices;
    slices.reserve(offsets.size());
    for (std::size_t group = 0; group + 1 < offsets.size(); ++group) {
        for (std::size_t first = offsets[group]; first < offsets[group + 1];) {
            const std::size_t count = std::min(kMostCandidates, offsets[group + 1] - first);
            slices.push_back({group, first, count});
            first += count;
        }
    }
    return slices;
}

void rouge_l(const Groups& groups, bool stem, const Implementation& implementation,
             std::size_t threads, const std::function<void()>& poll, const Measures& measures) {
    const std::vector<Slice> slices = cut_into_slices(groups.offsets);
    std::size_t characters = 0;
    for (const Text& text : groups.candidates) characters += text.length;
    threads = std::min({threads, slices.size(), 1 + characters / kCharactersPerThread});
    run_tasks(
        slices.size(), threads,
        [&] { return Scorer(groups, slices, stem, implementation, measures); }, poll);
}

}  // namespace leakrepro
