// Words to numbers: equal numbers exactly when the (stemmed) words are equal.
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

// A word of up to 16 letters, padded with NUL, and its place in a hash table. Longer words have
// none: all of it is 0.
class WordKey {
  public:
    // Bytes that can be read from the first letter of a word, which is followed by NUL.
    static constexpr std::size_t kBytes = 17;

    WordKey() = default;
    explicit WordKey(const char* word);

    bool operator==(const WordKey& other) const {
        return ((low_ ^ other.low_) | (high_ ^ other.high_)) == 0;
    }
    bool is_empty() const { return low_ == 0; }
    // Its highest bits depend on every letter.
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
        WordKey key;  // empty where there is none
        std::uint32_t number = kNew;
    };

    WordTable();

    // The number of a word, kNew where it has none yet; valid until the next call.
    std::uint32_t& operator[](const char* word);

    // A word is found where its hash, shifted right by so many bits, says, or behind that place.
    const Entry* entries() const { return entries_.data(); }
    int shift() const { return shift_; }

  private:
    std::vector<Entry> entries_;  // a power of two, a quarter full at most
    int shift_;
    std::size_t used_ = 0;
    std::unordered_map<std::string, std::uint32_t> long_words_;

    Entry* slot(const WordKey& key);
    void grow();
};

// Writes the number of each token that stands at the place of its hash, kNew for all others. One
// function for each instruction set.
using FindWords = void (*)(const WordTable& table, const Tokens& tokens, std::uint32_t* numbers);

void find_words_scalar(const WordTable& table, const Tokens& tokens, std::uint32_t* numbers);
void find_words_avx512(const WordTable& table, const Tokens& tokens, std::uint32_t* numbers);

// Remembers the stem of each word that it has seen. Every word gets a number, whether it was first
// seen in a reference or in a candidate, so that no number ever has to be revised.
class Vocabulary {
  public:
    explicit Vocabulary(bool stem) : stem_(stem) {}

    // The number of each wanted token's stem (of the token itself without stemming, or when it has
    // at most three letters), from 0 in order of first appearance. Valid until the next call.
    const std::vector<std::uint32_t>& operator()(const Tokens& tokens, FindWords find);

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

// Stems a token as rouge_score does, which leaves tokens of up to three letters alone.
std::size_t stem_token(char* token, std::size_t length);

}  // namespace leakrepro
