// Maps words to numbers. Two numbers are equal if and only if the (stemmed) words are equal.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <unordered_map>
#include <vector>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "text/beginnings.h"
#include "text/text.h"

namespace leakrepro {

// The key of a word in a hash table: up to 16 letters, padded with NUL. Longer words do not have a
// key: all its bytes are 0.
class WordKey {
  public:
    // Number of bytes that must be readable from the first letter of a NUL-terminated word.
    static constexpr std::size_t kBytes = 17;

    WordKey() = default;
    explicit WordKey(const char* word);

    bool operator==(const WordKey& other) const {
        return ((low_ ^ other.low_) | (high_ ^ other.high_)) == 0;
    }
    bool is_empty() const { return low_ == 0; }
    // The highest bits depend on all letters.
    std::uint64_t hash() const { return low_ * kLowFactor + high_ * kHighFactor; }
    static constexpr std::uint64_t kLowFactor = 0x9E3779B97F4A7C15;
    static constexpr std::uint64_t kHighFactor = 0xD6E8FEB86659FD93;

  private:
    std::uint64_t low_ = 0, high_ = 0;
};

// A hash table from words to numbers. Words of up to 16 letters are kept in the table itself.
class WordTable {
  public:
    static constexpr std::uint32_t kNew = 0xFFFFFFFF;

    struct alignas(32) Entry {
        WordKey key;  // empty if the entry is unused
        std::uint32_t number = kNew;
    };

    WordTable();

    // The number of a word, or kNew for a new word. The reference is valid until the next call.
    std::uint32_t& operator[](const char* word);

    // The entry of a word is at index hash >> shift() or, after collisions, behind it.
    const Entry* entries() const { return entries_.data(); }
    int shift() const { return shift_; }

  private:
    std::vector<Entry> entries_;  // the size is a power of two; at most a quarter full
    int shift_;
    std::size_t used_ = 0;
    std::unordered_map<std::string, std::uint32_t> long_words_;

    Entry* slot(const WordKey& key);
    void grow();
};

// Writes the number of each token whose entry is at the index of its hash, and kNew for all other
// tokens. One function per instruction set.
using FindWords = void (*)(const WordTable& table, const Tokens& tokens, std::uint32_t* numbers);

void find_words_scalar(const WordTable& table, const Tokens& tokens, std::uint32_t* numbers);
void find_words_avx512(const WordTable& table, const Tokens& tokens, std::uint32_t* numbers);

// Maps tokens to numbers and caches the stem of each token. All words get a number, from references
// and from candidates, so numbers never change.
class Vocabulary {
  public:
    explicit Vocabulary(bool stem) : stem_(stem) {}

    // The number of each wanted token's stem (of the token itself without stemming, or when it has
    // at most three letters), from 0 in order of first appearance. Valid until the next call.
    const std::vector<std::uint32_t>& operator()(const Tokens& tokens, FindWords find);

    // How many numbers are in use.
    std::uint32_t size() const { return static_cast<std::uint32_t>(initials_.size()); }

    // Adds the possible beginnings of tokens with this number to the set.
    void add_beginnings(std::uint32_t number, Beginnings& beginnings) const;

  private:
    struct Initials {
        char first, second;  // second is NUL for one-letter words
    };

    bool stem_;
    WordTable tokens_;
    WordTable stems_;
    std::vector<Initials> initials_;  // first letters of the stem, by number
    std::vector<std::uint32_t> numbers_;
    std::vector<char> buffer_;

    std::uint32_t find_or_add(const char* token);
    std::uint32_t number(std::uint32_t& slot, const char* word);
};

inline WordKey::WordKey(const char* word) {
    static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first letter is the lowest byte");
#ifdef __SSE2__
    alignas(16) static constexpr std::int8_t kBefore[32] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                            -1, -1, -1, -1, -1, -1, -1, -1};
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(word));
    const int nul = _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128()));
    const int length = __builtin_ctz(static_cast<unsigned>(nul | 1 << 16));
    const __m128i letters = _mm_and_si128(
        bytes, _mm_loadu_si128(reinterpret_cast<const __m128i*>(kBefore + 16 - length)));
    low_ = static_cast<std::uint64_t>(_mm_cvtsi128_si64(letters));
    high_ = static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_unpackhi_epi64(letters, letters)));
#else
    const std::size_t length = strnlen(word, 16);
    std::memcpy(&low_, word, std::min<std::size_t>(length, 8));
    if (length > 8) std::memcpy(&high_, word + 8, length - 8);
#endif
    if (length == 16 && word[16] != 0) low_ = high_ = 0;
}

// Stems a token as rouge_score does: tokens of up to three letters are unchanged.
std::size_t stem_token(char* token, std::size_t length);

}  // namespace leakrepro
