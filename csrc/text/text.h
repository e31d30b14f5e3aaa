// A text as Python stores it, and the tokens made of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace leakrepro {

// Code points of `width` bytes each (1, 2 or 4: CPython's "kinds"). Not owned.
struct Text {
    const void* data;
    std::size_t length;
    int width;
};

// The tokens of one text: lower-case ASCII letters and digits, back to back. Token i is
// bytes[ends[i - 1]] up to bytes[ends[i]]. At least kKeyBytes bytes may be read from where a token
// starts, so that a short word can be loaded at once.
class Tokens {
  public:
    static constexpr std::size_t kKeyBytes = 16;

    std::vector<char> bytes;
    std::vector<std::size_t> ends;

    // Makes room for every token of a text of `length` code points.
    void prepare(std::size_t length) {
        if (bytes.size() < length + kKeyBytes) bytes.resize(length + kKeyBytes);
        ends.clear();
    }

    template <class Visitor>
    void for_each(Visitor&& visit) const {
        std::size_t begin = 0;
        for (std::size_t end : ends) {
            visit(bytes.data() + begin, end - begin);
            begin = end;
        }
    }
};

// Cuts a text into tokens as rouge_score.tokenize does: lower-case it as Python does, take every
// run of [a-z0-9] as a token. One function for each instruction set.
using Tokenise = void (*)(const Text& text, Tokens& tokens);

void tokenise_scalar(const Text& text, Tokens& tokens);

}  // namespace leakrepro
