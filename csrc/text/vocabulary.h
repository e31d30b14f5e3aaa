// Words to numbers: equal numbers exactly when the (stemmed) words are equal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "text/beginnings.h"

namespace leakrepro {

// A hash table from words to numbers. Words of up to 16 bytes are kept in the table itself.
class WordTable {
  public:
    static constexpr std::uint32_t kNew = 0xFFFFFFFF;

    WordTable();

    // The number of a word of [a-z0-9], kNew where it has none yet; valid until the next call. The
    // word is followed by NUL, and Tokens::kKeyBytes bytes can be read from its first one.
    std::uint32_t& operator[](const char* word);

  private:
    struct Entry {
        std::uint64_t low, high;  // the word, padded with NUL; low is 0 in an empty entry
        std::uint32_t number;
    };

    std::vector<Entry> entries_;  // a power of two, at most half full
    std::size_t used_ = 0;
    std::unordered_map<std::string, std::uint32_t> long_words_;

    std::uint32_t& add(Entry* entry, std::uint64_t low, std::uint64_t high);
    Entry* find(std::uint64_t low, std::uint64_t high);
    void grow();
};

// Remembers the stem of each word that it has seen. Every word gets a number, whether it was first
// seen in a reference or in a candidate, so that no number ever has to be revised.
class Vocabulary {
  public:
    explicit Vocabulary(bool stem) : stem_(stem) {}

    // The number of a token's stem (of the token itself without stemming, or when it has at most
    // three letters), from 0 in order of first appearance. Same requirements as WordTable.
    std::uint32_t operator()(const char* token) {
        const std::uint32_t number = tokens_[token];
        return number != WordTable::kNew ? number : add(token);
    }

    // How many numbers there are.
    std::uint32_t size() const { return static_cast<std::uint32_t>(initials_.size()); }

    // Adds to the set how the tokens with this number may begin.
    void add_beginnings(std::uint32_t number, Beginnings& beginnings) const;

  private:
    struct Initials {
        char first, second;  // second is NUL where there is none
    };

    bool stem_;
    WordTable tokens_;
    WordTable stems_;
    std::vector<Initials> initials_;  // of the stem with each number
    std::vector<char> buffer_;

    std::uint32_t add(const char* token);
    std::uint32_t number(std::uint32_t& slot, const char* word);
};

// Stems a token as rouge_score does, which leaves tokens of up to three letters alone.
std::size_t stem_token(char* token, std::size_t length);

}  // namespace leakrepro
