#include "text/text.h"

#include <array>

namespace leakrepro {
namespace {

// The lower case of each ASCII letter and digit; 0 for characters that separate tokens.
constexpr std::array<char, 256> make_lower() {
    std::array<char, 256> table{};
    for (int c = '0'; c <= '9'; ++c) table[c] = static_cast<char>(c);
    for (int c = 'a'; c <= 'z'; ++c) {
        table[c] = static_cast<char>(c);
        table[c - 'a' + 'A'] = static_cast<char>(c);
    }
    return table;
}

constexpr std::array<char, 256> kLower = make_lower();

template <class Char>
void tokenise(const Char* text, std::size_t length, Tokens& tokens) {
    tokens.prepare(sizeof(Char) == 1 ? length : 2 * length);  // U+0130 becomes two bytes
    char* const first = tokens.bytes();
    char* next = first;
    std::uint32_t* start = tokens.starts();
    char before = 0;
    const auto put = [&](char c) {
        // Without a branch, because the starts of tokens are hard to predict.
        *start = static_cast<std::uint32_t>(next - first);
        start += (c != 0) & (before == 0);
        *next++ = before = c;
    };
    for (std::size_t i = 0; i < length; ++i) {
        const std::uint32_t c = text[i];
        if (c < 256) {
            put(kLower[c]);
        } else if (c == kKelvinSign) {
            put('k');
        } else {
            if (c == kCapitalIWithDot) put('i');
            put(0);
        }
    }
    put(0);
    tokens.finish_all(static_cast<std::size_t>(start - tokens.starts()));
}

}  // namespace

void tokenise_scalar(const Text& text, Tokens& tokens) {
    switch (text.width) {
        case 1:
            return tokenise(static_cast<const std::uint8_t*>(text.data), text.length, tokens);
        case 2:
            return tokenise(static_cast<const std::uint16_t*>(text.data), text.length, tokens);
        default:
            return tokenise(static_cast<const std::uint32_t*>(text.data), text.length, tokens);
    }
}

}  // namespace leakrepro
