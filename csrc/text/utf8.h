// Texts as stored by Arrow.
#pragma once

#include <cstdint>
#include <vector>

#include "text/text.h"

namespace leakrepro {

// The width of a UTF-8 Text; its `length` is in bytes.
constexpr int kUtf8 = 0;

// A tokeniser for texts of all widths, including UTF-8.
class Reader {
  public:
    explicit Reader(Tokenise tokenise) : tokenise_(tokenise) {}

    void operator()(const Text& text, Tokens& tokens);

  private:
    Tokenise tokenise_;
    std::vector<std::uint32_t> decoded_;
};

}  // namespace leakrepro
