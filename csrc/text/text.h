// A text as stored by Python, and its tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <stdexcept>

#include "text/beginnings.h"

namespace leakrepro {

// Code points of `width` bytes each (1, 2 or 4: CPython's "kinds"). Not owned.
struct Text {
    const void* data;
    std::size_t length;
    int width;
};

// The tokens of one text: lower-case ASCII letters and digits, each followed by NUL. Reused for
// successive texts to avoid allocations.
class Tokens {
  public:
    // Number of bytes after the last token that may be read, and of bytes and tokens that a
    // tokeniser may write in excess.
    static constexpr std::size_t kSlack = 64;

    // Tokens with other beginnings are counted but not stored.
    Beginnings wanted;

    // Number of all tokens of the text.
    std::size_t size() const { return size_; }

    // Number of wanted tokens, and the first letter of each.
    std::size_t wanted_size() const { return wanted_; }
    const char* start(std::size_t i) const { return bytes_.get() + starts_[i]; }

    // Calls visit(pointer to the first letter) for each wanted token.
    template <class Visitor>
    void for_each(Visitor&& visit) const {
        for (std::size_t i = 0; i < wanted_; ++i) visit(start(i));
    }

    // For tokenisers: allocates memory for `characters` bytes, a final NUL, and the maximum number
    // of tokens. Throws std::length_error if the text is too long for 32-bit offsets.
    void prepare(std::size_t characters) {
        if (characters < capacity_) return;
        if (characters > std::numeric_limits<std::uint32_t>::max() / 4) {
            throw std::length_error("a text of more than a billion characters");
        }
        capacity_ = 2 * characters + 1;
        bytes_.reset(new char[capacity_ + kSlack]);
        starts_.reset(new std::uint32_t[capacity_ / 2 + 1 + kSlack]);
    }
    char* bytes() { return bytes_.get(); }
    std::uint32_t* starts() { return starts_.get(); }
    const char* bytes() const { return bytes_.get(); }
    const std::uint32_t* starts() const { return starts_.get(); }
    void finish(std::size_t size, std::size_t wanted) {
        size_ = size;
        wanted_ = wanted;
    }
    // The same if all tokens were written to starts(): removes those that are not wanted.
    void finish_all(std::size_t size) {
        std::uint32_t* next = starts();
        for (std::size_t i = 0; i < size; ++i) {
            const std::uint32_t start = starts_[i];
            *next = start;
            next += wanted.admits(bytes_.get() + start);
        }
        finish(size, static_cast<std::size_t>(next - starts()));
    }

  private:
    std::size_t capacity_ = 0, size_ = 0, wanted_ = 0;
    std::unique_ptr<char[]> bytes_;
    std::unique_ptr<std::uint32_t[]> starts_;
};

// Splits a text into tokens as rouge_score.tokenize does: converts it to lower case as Python does
// and takes every run of [a-z0-9] as a token. One function per instruction set.
using Tokenise = void (*)(const Text& text, Tokens& tokens);

void tokenise_scalar(const Text& text, Tokens& tokens);
void tokenise_avx2(const Text& text, Tokens& tokens);
void tokenise_avx512(const Text& text, Tokens& tokens);

// The only two non-ASCII characters with ASCII characters in their lower case.
constexpr std::uint32_t kCapitalIWithDot = 0x130;  // "i" and a combining dot (a separator)
constexpr std::uint32_t kKelvinSign = 0x212A;      // "k"

}  // namespace leakrepro
