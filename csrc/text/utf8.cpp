#include "text/utf8.h"

#include <string_view>

namespace leakrepro {
namespace {

// U+0130 and U+212A are the only non-ASCII characters that do more than separate tokens. Arrow's
// strings are valid UTF-8, so these bytes cannot be part of other characters.
bool has_special_character(const Text& text) {
    const std::string_view bytes(static_cast<const char*>(text.data), text.length);
    return bytes.find("\xC4\xB0") != bytes.npos || bytes.find("\xE2\x84\xAA") != bytes.npos;
}

// Decodes a text to code points, except characters that only separate tokens: each of their bytes
// becomes one code point.
void decode(const Text& text, std::vector<std::uint32_t>& out) {
    const std::string_view bytes(static_cast<const char*>(text.data), text.length);
    out.clear();
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (bytes.compare(i, 2, "\xC4\xB0") == 0) {
            out.push_back(kCapitalIWithDot);
            i += 1;
        } else if (bytes.compare(i, 3, "\xE2\x84\xAA") == 0) {
            out.push_back(kKelvinSign);
            i += 2;
        } else {
            out.push_back(static_cast<std::uint8_t>(bytes[i]));
        }
    }
}

}  // namespace

void Reader::operator()(const Text& text, Tokens& tokens) {
    if (text.width != kUtf8) return tokenise_(text, tokens);
    if (!has_special_character(text)) return tokenise_({text.data, text.length, 1}, tokens);
    decode(text, decoded_);
    tokenise_({decoded_.data(), decoded_.size(), 4}, tokens);
}

}  // namespace leakrepro
