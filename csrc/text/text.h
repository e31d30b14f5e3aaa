// A text as Python stores it, and the tokens made of it.
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

// The tokens of one text: lower-case ASCII letters and digits, each followed by NUL. Used for one
// text after the other, so that memory is asked for once.
class Tokens {
  public:
    // Bytes that may be read from behind the last token, and bytes and tokens that a tokeniser may
    // write beyond those it has to.
    static constexpr std::size_t kSlack = 64;

    // Tokens that begin otherwise are counted, but cannot be visited.
    Beginnings wanted;

    // All tokens of the text.
    std::size_t size() const { return size_; }

    // Those that are wanted, and where the first letter of each stands.
    std::size_t wanted_size() const { return wanted_; }
    const char* start(std::size_t i) const { return bytes_.get() + starts_[i]; }

    // Calls visit(first letter) for each wanted token.
    template <class Visitor>
    void for_each(Visitor&& visit) const {
        for (std::size_t i = 0; i < wanted_; ++i) visit(start(i));
    }

    // For tokenisers: makes room for so many bytes, a last NUL, and all tokens that they can hold.
    // Throws std::length_error where 32 bits cannot count them.
    void prepare(std::size_t characters) {
        if (characters < room_) return;
        if (characters > std::numeric_limits<std::uint32_t>::max() / 4) {
            throw std::length_error("a text of more than a billion characters");
        }
        room_ = 2 * characters + 1;
        bytes_.reset(new char[room_ + kSlack]);
        starts_.reset(new std::uint32_t[room_ / 2 + 1 + kSlack]);
    }
    char* bytes() { return bytes_.get(); }
    std::uint32_t* starts() { return starts_.get(); }
    const char* bytes() const { return bytes_.get(); }
    const std::uint32_t* starts() const { return starts_.get(); }
    void finish(std::size_t size, std::size_t wanted) {
        size_ = size;
        wanted_ = wanted;
    }
    // The same where all tokens were written to starts().
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
    std::size_t room_ = 0, size_ = 0, wanted_ = 0;
    std::unique_ptr<char[]> bytes_;
    std::unique_ptr<std::uint32_t[]> starts_;
};

// Cuts a text into tokens as rouge_score.tokenize does: lower-case it as Python does, take every
// run of [a-z0-9] as a token. One function for each instruction set.
using Tokenise = void (*)(const Text& text, Tokens& tokens);

void tokenise_scalar(const Text& text, Tokens& tokens);
void tokenise_avx2(const Text& text, Tokens& tokens);
void tokenise_avx512(const Text& text, Tokens& tokens);

// Only two characters beyond ASCII have ASCII in their lower-case form.
constexpr std::uint32_t kCapitalIWithDot = 0x130;  // "i" and a combining dot, which separates
constexpr std::uint32_t kKelvinSign = 0x212A;      // "k"

}  // namespace leakrepro
