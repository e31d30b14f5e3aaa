// A libFuzzer target: every implementation against plain ones (reference.h), for any input.
//
// The caches of vocabularies live as long as the process, as they do in Python.
#include <cstdio>
#include <cstdlib>
#include <set>

#include "dispatch.h"
#include "ids.h"
#include "input.h"
#include "rouge.h"
#include "scorer/scorer.h"
#include "text/porter.h"

using namespace leakrepro;

namespace {

void check(bool is_right, const char* what, const std::string& implementation) {
    if (is_right) return;
    std::fprintf(stderr, "%s: %s differs\n", implementation.c_str(), what);
    std::abort();
}

// Three measures a pair, first filled with what no result is.
class Results {
  public:
    explicit Results(std::size_t pairs) : values_(3 * pairs, -1.0), pairs_(pairs) {}

    Measures measures() {
        return {values_.data(), values_.data() + pairs_, values_.data() + 2 * pairs_};
    }
    bool is(std::size_t pair, const reference::Score& score) const {
        const double expected[] = {score.precision, score.recall, score.fmeasure};
        for (std::size_t i = 0; i < 3; ++i) {
            if (std::memcmp(&values_[i * pairs_ + pair], &expected[i], sizeof(double)) != 0) {
                return false;
            }
        }
        return true;
    }

  private:
    std::vector<double> values_;
    std::size_t pairs_;
};

void check_tokens(const FuzzText& text, const Implementation& implementation, bool stem) {
    const reference::Words expected = reference::tokenise(text.codes());
    const reference::Words stems = stem ? reference::stem(expected) : expected;
    Tokens tokens;
    Reader reader(implementation.tokenise);
    reader(text.view(), tokens);
    reference::Words found;
    tokens.for_each([&](const char* token) { found.emplace_back(token); });
    check(found == expected && tokens.size() == expected.size(), "a token", implementation.name);

    Vocabulary vocabulary(stem);
    const std::vector<std::uint32_t> numbers = vocabulary(tokens, implementation.find_words);
    check(numbers.size() == stems.size(), "the count of numbers", implementation.name);
    for (std::size_t i = 0; i < stems.size(); ++i) {
        const std::size_t first = static_cast<std::size_t>(
            std::find(stems.begin(), stems.end(), stems[i]) - stems.begin());
        check(numbers[i] == numbers[first] && (first < i || numbers[i] < vocabulary.size()),
              "a number", implementation.name);
    }
    check(vocabulary.size() == std::set<std::string>(stems.begin(), stems.end()).size(),
          "the size of the vocabulary", implementation.name);

    // A filter made of some words lets all their forms pass, and the tokeniser heeds it.
    tokens.wanted.clear();
    for (std::size_t i = 0; i < numbers.size(); i += 2) {
        vocabulary.add_beginnings(numbers[i], tokens.wanted);
    }
    reference::Words admitted;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const bool is_admitted = tokens.wanted.admits(expected[i].c_str());
        for (std::size_t j = 0; j < numbers.size(); j += 2) {
            check(is_admitted || numbers[i] != numbers[j], "what the filter admits",
                  implementation.name);
        }
        if (is_admitted) admitted.push_back(expected[i]);
    }
    reader(text.view(), tokens);
    found.clear();
    tokens.for_each([&](const char* token) { found.emplace_back(token); });
    check(found == admitted && tokens.size() == expected.size(), "a filtered token",
          implementation.name);
}

void check_texts(Input& input) {
    constexpr std::size_t kMostCharacters = 20000, kMostGroups = 4, kMostCandidates = 40;
    const std::uint8_t head = input.byte();
    const bool stem = (head & 1) != 0;
    const std::size_t groups = 1 + (head >> 1) % kMostGroups;
    std::vector<FuzzText> references, candidates;
    std::vector<std::size_t> offsets{0};
    for (std::size_t g = 0; g < groups; ++g) {
        references.push_back(fuzz_text(input, kMostCharacters));
        for (std::size_t left = input.byte() % kMostCandidates; left > 0; --left) {
            candidates.push_back(fuzz_text(input, kMostCharacters));
        }
        offsets.push_back(candidates.size());
    }
    std::vector<Text> reference_views, candidate_views;
    for (const FuzzText& text : references) reference_views.push_back(text.view());
    for (const FuzzText& text : candidates) candidate_views.push_back(text.view());

    std::vector<reference::Score> expected;
    for (std::size_t g = 0; g < groups; ++g) {
        const auto words = [&](const FuzzText& text) {
            const reference::Words tokens = reference::tokenise(text.codes());
            return stem ? reference::stem(tokens) : tokens;
        };
        const reference::Words a = words(references[g]);
        for (std::size_t i = offsets[g]; i < offsets[g + 1]; ++i) {
            const reference::Words b = words(candidates[i]);
            expected.push_back(reference::score(reference::lcs(a, b), a.size(), b.size()));
        }
    }
    for (const Implementation& implementation : implementations()) {
        for (const FuzzText& text : references) check_tokens(text, implementation, stem);
        Results results(candidates.size());
        rouge_l({reference_views, candidate_views, offsets}, stem, implementation, 2, [] {},
                results.measures());
        for (std::size_t i = 0; i < expected.size(); ++i) {
            check(results.is(i, expected[i]), "rouge_l", implementation.name);
        }
    }
}

// The lines of a text, stemmed or not.
std::vector<reference::Words> lines(const FuzzText& text, bool stem) {
    std::vector<reference::Words> result;
    reference::Codes line;
    const auto end_line = [&] {
        const reference::Words words = reference::tokenise(line);
        result.push_back(stem ? reference::stem(words) : words);
        line.clear();
    };
    for (std::uint32_t code : text.codes()) {
        if (code == '\n') end_line();
        else line.push_back(code);
    }
    end_line();
    return result;
}

void check_summaries(Input& input) {
    constexpr std::size_t kMostCharacters = 1500, kMostCandidates = 6;
    const std::uint8_t head = input.byte();
    const bool stem = (head & 1) != 0;
    const std::vector<RougeType> types{1, 2, 1 + (head >> 1) % 9, kRougeL, kRougeLsum};
    const FuzzText text = fuzz_text(input, kMostCharacters);
    std::vector<FuzzText> candidates;
    for (std::size_t left = input.byte() % kMostCandidates; left > 0; --left) {
        candidates.push_back(fuzz_text(input, kMostCharacters));
    }
    const std::vector<Text> reference_views{text.view()};
    std::vector<Text> candidate_views;
    for (const FuzzText& each : candidates) candidate_views.push_back(each.view());
    const std::vector<std::size_t> offsets{0, candidates.size()};

    const auto joined = [](const std::vector<reference::Words>& sentences) {
        reference::Words all;
        for (const reference::Words& words : sentences) {
            all.insert(all.end(), words.begin(), words.end());
        }
        return all;
    };
    const std::vector<reference::Words> ours = lines(text, stem);
    const reference::Words a = joined(ours);
    for (const Implementation& implementation : implementations()) {
        std::vector<Results> results(types.size(), Results(candidates.size()));
        std::vector<Measures> measures;
        for (Results& result : results) measures.push_back(result.measures());
        score_summaries({reference_views, candidate_views, offsets}, types, stem, implementation, 1,
                        [] {}, measures);
        for (std::size_t i = 0; i < candidates.size(); ++i) {
            const std::vector<reference::Words> theirs = lines(candidates[i], stem);
            const reference::Words b = joined(theirs);
            for (std::size_t t = 0; t < types.size(); ++t) {
                const reference::Score expected =
                    types[t] == kRougeL      ? reference::score(reference::lcs(a, b), a.size(), b.size())
                    : types[t] == kRougeLsum ? reference::rouge_lsum(ours, theirs)
                    : reference::rouge_n(a, b, static_cast<std::size_t>(types[t]));
                check(results[t].is(i, expected), "a summary", implementation.name);
            }
        }
    }
}

// Sequences of ids of one type, back to back.
template <class Id>
class Sequences {
  public:
    explicit Sequences(const std::vector<std::vector<std::uint64_t>>& sequences)
        : ids_(flat(sequences)), offsets_(ends(sequences)) {}

    IdSequences view() const { return {ids_.data(), offsets_.data(), offsets_.size() - 1}; }

  private:
    Exact<Id> ids_;
    Exact<std::int64_t> offsets_;

    static std::vector<Id> flat(const std::vector<std::vector<std::uint64_t>>& sequences) {
        std::vector<Id> ids;
        for (const auto& sequence : sequences) {
            for (std::uint64_t id : sequence) ids.push_back(static_cast<Id>(id));
        }
        return ids;
    }
    static std::vector<std::int64_t> ends(const std::vector<std::vector<std::uint64_t>>& sequences) {
        std::vector<std::int64_t> offsets{0};
        for (const auto& sequence : sequences) {
            offsets.push_back(offsets.back() + static_cast<std::int64_t>(sequence.size()));
        }
        return offsets;
    }
};

template <class Id>
void check_ids(Input& input) {
    constexpr std::size_t kMostReferences = 3, kMostCandidates = 24;
    constexpr std::size_t kMostIds = 4200;        // more than two bands of 2,048
    constexpr std::size_t kMostCells = 6000000;   // of the plain tables
    constexpr int kWidth = 8 * sizeof(Id);
    const std::uint8_t head = input.byte();
    const bool is_all = (head & 1) != 0;
    const std::size_t count = 1 + (head >> 1) % kMostReferences;
    const int bits = 1 + (head >> 4);  // those of references index a table
    std::vector<std::vector<std::uint64_t>> references, candidates;
    std::vector<std::int64_t> groups{0};
    std::size_t highest = 0;
    for (std::size_t r = 0; r < count; ++r) {
        references.push_back(fuzz_ids(input, std::min(bits, kWidth), kMostIds));
        for (std::uint64_t id : references.back()) highest = std::max<std::size_t>(highest, id);
        const bool is_near = (input.byte() & 1) != 0;
        for (std::size_t left = input.byte() % kMostCandidates; left > 0; --left) {
            candidates.push_back(
                fuzz_ids(input, is_near ? std::min(bits, kWidth) : kWidth * 3 / 4, kMostIds));
        }
        groups.push_back(static_cast<std::int64_t>(candidates.size()));
    }
    std::vector<std::int32_t> lengths;
    std::vector<reference::Score> scores;
    std::size_t cells = 0;
    for (std::size_t r = 0; r < count; ++r) {
        const auto first = static_cast<std::size_t>(is_all ? 0 : groups[r]);
        const auto last = is_all ? candidates.size() : static_cast<std::size_t>(groups[r + 1]);
        for (std::size_t c = first; c < last; ++c) {
            cells += references[r].size() * candidates[c].size();
            if (cells > kMostCells) return;
            lengths.push_back(reference::lcs(references[r], candidates[c]));
            scores.push_back(
                reference::score(lengths.back(), references[r].size(), candidates[c].size()));
        }
    }
    const Sequences<Id> a(references), b(candidates);
    const IdGroups view{a.view(), b.view(), sizeof(Id), sizeof(Id) == 1 ? 256 : highest + 1,
                        is_all ? nullptr : groups.data()};
    for (const Implementation& implementation : implementations()) {
        std::vector<std::int32_t> found(lengths.size(), -1);
        lcs_length(view, implementation, 2, [] {}, found.data());
        check(found == lengths, "lcs_length", implementation.name);
        Results results(scores.size());
        rouge_l_ids(view, implementation, 2, [] {}, results.measures());
        for (std::size_t i = 0; i < scores.size(); ++i) {
            check(results.is(i, scores[i]), "rouge_l_ids", implementation.name);
        }
    }
}

// A stem is made in place, of the same letters, and is not longer than its word.
void check_stem(Input& input) {
    std::vector<char> letters;
    while (!input.is_empty()) {
        letters.push_back("abcdefghijklmnopqrstuvwxyz0123456789"[input.byte() % 36]);
    }
    if (letters.empty()) return;
    std::unique_ptr<char[]> word(new char[letters.size()]);
    std::copy(letters.begin(), letters.end(), word.get());
    const std::size_t length = porter_stem(word.get(), letters.size());
    check(length >= 1 && length <= letters.size(), "the length of a stem", "porter");
    for (std::size_t i = 0; i < length; ++i) {
        check((word[i] >= 'a' && word[i] <= 'z') || (word[i] >= '0' && word[i] <= '9'),
              "a letter of a stem", "porter");
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input(data, size);
    switch (input.byte() % 8) {
        case 0: check_stem(input); break;
        case 1: check_ids<std::uint8_t>(input); break;
        case 2: check_ids<std::uint16_t>(input); break;
        case 3: check_ids<std::uint32_t>(input); break;
        case 4: check_ids<std::uint64_t>(input); break;
        case 5: check_summaries(input); break;
        default: check_texts(input);
    }
    return 0;
}
