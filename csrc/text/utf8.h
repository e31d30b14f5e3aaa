// Texts as Arrow stores them.
#pragma once

#include <cstdint>
#include <vector>

#include "text/text.h"

namespace leakrepro {

// The width of a Text in UTF-8; `length` counts its bytes.
constexpr int kUtf8 = 0;

// A tokeniser for texts of every width.
class Reader {
  public:
    explicit Reader(Tokenise tokenise) : tokenise_(tokenise) {}

    void operator()(const Text& text, Tokens& tokens);

  private:
    Tokenise tokenise_;
    std::vector<std::uint32_t> decoded_;
};

}  // namespace leakrepro
