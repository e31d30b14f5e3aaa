// Words to numbers: equal numbers exactly when the (stemmed) words are equal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace leakrepro {

// A hash table from words to numbers. Words of up to 16 bytes are kept in the table itself.
class WordTable {
  public:
    static constexpr std::uint32_t kNew = 0xFFFFFFFF;

    WordTable();

    // The number of a word, kNew where it has none yet; valid until the next call. `word` must not
    // contain NUL, and Tokens::kKeyBytes bytes must be readable from it.
    std::uint32_t& operator()(const char* word, std::size_t length);

  private:
    struct Entry {
        std::uint64_t low, high;  // the word, padded with NUL; low is 0 in an empty entry
        std::uint32_t number;
    };

    std::vector<Entry> entries_;  // a power of two, at most half full
    std::size_t used_ = 0;
    std::unordered_map<std::string, std::uint32_t> long_words_;

    Entry& find(std::uint64_t low, std::uint64_t high);
    void grow();
};

// Remembers the stem of each word that it has seen. Every word gets a number, whether it was first
// seen in a reference or in a candidate, so that no number ever has to be revised.
class Vocabulary {
  public:
    explicit Vocabulary(bool stem) : stem_(stem) {}

    // The number of a token's stem (of the token itself without stemming, or when it has at most
    // three letters), from 0 in order of first appearance. Same requirements as WordTable.
    std::uint32_t operator()(const char* token, std::size_t length);

    std::uint32_t size() const { return size_; }

  private:
    bool stem_;
    std::uint32_t size_ = 0;
    WordTable tokens_;
    WordTable stems_;
    std::vector<char> buffer_;

    std::uint32_t number(std::uint32_t& slot);
};

// Stems a token as rouge_score does, which leaves tokens of up to three letters alone.
std::size_t stem_token(char* token, std::size_t length);

}  // namespace leakrepro
