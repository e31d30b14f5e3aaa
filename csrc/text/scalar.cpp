#include "text/text.h"

#include <array>

namespace leakrepro {
namespace {

// The lower-case form of an ASCII letter or digit; 0 for what separates tokens.
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

// Only two characters beyond ASCII have ASCII in their lower-case form.
constexpr std::uint32_t kCapitalIWithDot = 0x130;  // "i" and a combining dot, which separates
constexpr std::uint32_t kKelvinSign = 0x212A;      // "k"

template <class Char>
void tokenise(const Char* text, std::size_t length, Tokens& tokens) {
    tokens.prepare(length);
    char* const begin = tokens.bytes.data();
    char* token = begin;
    char* next = begin;
    const auto finish = [&] {
        if (next != token) tokens.ends.push_back(static_cast<std::size_t>(next - begin));
        token = next;
    };
    for (std::size_t i = 0; i < length; ++i) {
        const Char c = text[i];
        if (c < 256) {
            *next = kLower[c];
            if (*next != 0) {
                ++next;
            } else {
                finish();
            }
        } else if (c == kKelvinSign) {
            *next++ = 'k';
        } else {
            if (c == kCapitalIWithDot) *next++ = 'i';
            finish();
        }
    }
    finish();
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
