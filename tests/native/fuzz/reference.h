// The kernel's results by the plainest means, to hold the fast ones against.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "text/vocabulary.h"

namespace reference {

using Codes = std::vector<std::uint32_t>;  // code points
using Words = std::vector<std::string>;

// Runs of [a-z0-9] of the text in lower case.
inline Words tokenise(const Codes& text) {
    std::string lower;
    for (std::uint32_t code : text) {
        if (code >= 'A' && code <= 'Z') lower += static_cast<char>(code - 'A' + 'a');
        else if (code == 0x130) lower += "i.";  // i and a combining dot
        else if (code == 0x212A) lower += 'k';
        else lower += code < 128 ? static_cast<char>(code) : '.';
    }
    Words words(1);
    for (char c : lower) {
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) words.back() += c;
        else if (!words.back().empty()) words.emplace_back();
    }
    if (words.back().empty()) words.pop_back();
    return words;
}

inline Words stem(Words words) {
    for (std::string& word : words) word.resize(leakrepro::stem_token(word.data(), word.size()));
    return words;
}

// The textbook recurrence, row by row.
template <class Item>
std::int32_t lcs(const std::vector<Item>& a, const std::vector<Item>& b) {
    std::vector<std::int32_t> row(b.size() + 1, 0);
    for (const Item& item : a) {
        std::int32_t diagonal = 0;
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::int32_t above = row[j + 1];
            row[j + 1] = item == b[j] ? diagonal + 1 : std::max(above, row[j]);
            diagonal = above;
        }
    }
    return row.back();
}

// Which tokens of `a` the backtracking of rouge_score finds, by the whole table.
inline std::set<std::size_t> lcs_places(const Words& a, const Words& b) {
    std::vector<std::vector<std::int32_t>> t(a.size() + 1,
                                             std::vector<std::int32_t>(b.size() + 1, 0));
    for (std::size_t i = 1; i <= a.size(); ++i) {
        for (std::size_t j = 1; j <= b.size(); ++j) {
            t[i][j] = a[i - 1] == b[j - 1] ? t[i - 1][j - 1] + 1
                                           : std::max(t[i - 1][j], t[i][j - 1]);
        }
    }
    std::set<std::size_t> places;
    for (std::size_t i = a.size(), j = b.size(); i > 0 && j > 0;) {
        if (a[i - 1] == b[j - 1]) {
            places.insert(--i);
            --j;
        } else if (t[i][j - 1] > t[i - 1][j]) {
            --j;
        } else {
            --i;
        }
    }
    return places;
}

struct Score {
    double precision = 0, recall = 0, fmeasure = 0;
};

// As rouge_score computes them.
inline Score score(std::int32_t length, std::size_t reference, std::size_t candidate) {
    if (reference == 0 || candidate == 0) return {};
    Score result;
    result.precision = length / static_cast<double>(candidate);
    result.recall = length / static_cast<double>(reference);
    if (result.precision + result.recall > 0) {
        result.fmeasure = 2 * result.precision * result.recall /
                          (result.precision + result.recall);
    }
    return result;
}

inline Score rouge_n(const Words& a, const Words& b, std::size_t n) {
    const auto count = [n](const Words& words) {
        std::map<Words, std::size_t> counts;
        for (std::size_t i = 0; i + n <= words.size(); ++i) {
            ++counts[Words(words.begin() + static_cast<std::ptrdiff_t>(i),
                           words.begin() + static_cast<std::ptrdiff_t>(i + n))];
        }
        return counts;
    };
    const auto ours = count(a), theirs = count(b);
    std::size_t hits = 0;
    for (const auto& [ngram, times] : ours) {
        const auto found = theirs.find(ngram);
        if (found != theirs.end()) hits += std::min(times, found->second);
    }
    const auto total = [n](const Words& words) {
        return words.size() < n ? 1 : words.size() - n + 1;
    };
    return score(static_cast<std::int32_t>(hits), total(a), total(b));
}

inline Score rouge_lsum(const std::vector<Words>& a, const std::vector<Words>& b) {
    std::map<std::string, std::size_t> our_left, their_left;
    std::size_t m = 0, n = 0;
    for (const Words& words : a) {
        for (const std::string& word : words) ++our_left[word], ++m;
    }
    for (const Words& words : b) {
        for (const std::string& word : words) ++their_left[word], ++n;
    }
    std::int32_t hits = 0;
    for (const Words& words : a) {
        std::set<std::size_t> all;
        for (const Words& other : b) all.merge(lcs_places(words, other));
        for (std::size_t i : all) {
            std::size_t &ours = our_left[words[i]], &theirs = their_left[words[i]];
            if (ours == 0 || theirs == 0) continue;
            --ours;
            --theirs;
            ++hits;
        }
    }
    return score(hits, m, n);
}

}  // namespace reference
