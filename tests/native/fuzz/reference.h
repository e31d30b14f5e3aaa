// The kernel's results by the plainest means, to hold the fast ones against.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
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

}  // namespace reference
