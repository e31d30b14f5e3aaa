// Texts and ids made of a fuzzer's bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "reference.h"
#include "text/text.h"
#include "text/utf8.h"

// The bytes of one input, then zeros.
class Input {
  public:
    Input(const std::uint8_t* data, std::size_t size) : next_(data), end_(data + size) {}

    bool is_empty() const { return next_ == end_; }
    std::uint8_t byte() { return next_ == end_ ? 0 : *next_++; }
    std::uint32_t number(int bytes) {
        std::uint32_t result = 0;
        for (int i = 0; i < bytes; ++i) result = result << 8 | byte();
        return result;
    }

  private:
    const std::uint8_t* next_;
    const std::uint8_t* end_;
};

// Entries in a heap block of exactly their size, so that the address sanitizer sees a read behind.
template <class T>
class Exact {
  public:
    explicit Exact(const std::vector<T>& values)
        : size_(values.size()), data_(new T[values.size()]) {
        std::copy(values.begin(), values.end(), data_.get());
    }
    const T* data() const { return data_.get(); }
    std::size_t size() const { return size_; }

  private:
    std::size_t size_;
    std::unique_ptr<T[]> data_;
};

// A text in one of the forms that the kernel reads.
class FuzzText {
  public:
    // The highest code point that a text of this width can hold.
    static std::uint32_t most(int width) {
        return width == 1 ? 0xFF : width == 2 ? 0xFFFF : 0x10FFFF;
    }

    FuzzText(const reference::Codes& codes, int width)
        : codes_(codes), width_(width), bytes_(encode(codes, width)) {}

    const reference::Codes& codes() const { return codes_; }
    leakrepro::Text view() const {
        return {bytes_.data(), width_ == leakrepro::kUtf8 ? bytes_.size() : codes_.size(), width_};
    }

  private:
    reference::Codes codes_;
    int width_;
    Exact<std::uint8_t> bytes_;

    static std::vector<std::uint8_t> encode(const reference::Codes& codes, int width) {
        std::vector<std::uint8_t> bytes;
        for (std::uint32_t code : codes) {
            if (width != leakrepro::kUtf8) {
                for (int i = 0; i < width; ++i) {
                    bytes.push_back(static_cast<std::uint8_t>(code >> (8 * i)));
                }
            } else if (code < 0x80) {
                bytes.push_back(static_cast<std::uint8_t>(code));
            } else {
                const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
                const std::uint32_t head = more == 1 ? 0xC0 : more == 2 ? 0xE0 : 0xF0;
                bytes.push_back(static_cast<std::uint8_t>(head | code >> (6 * more)));
                for (int i = more - 1; i >= 0; --i) {
                    bytes.push_back(static_cast<std::uint8_t>(0x80 | (code >> (6 * i) & 0x3F)));
                }
            }
        }
        return bytes;
    }
};

// Words near each other, near the limits of the kernel's blocks, or odd to a stemmer.
constexpr std::string_view kWords[] = {
    "use", "using", "used", "aging", "eing", "aing", "ying", "dying", "die", "dies", "died", "tying",
    "tie", "ties", "lying", "lie", "sky", "skies", "news", "innings", "inning", "outing", "cannings",
    "howe", "proceed", "exceed", "succeed", "early", "only", "singly", "hope", "hopes", "hoping",
    "hopping", "hopeful", "hopefulness", "oscillators", "a", "b", "i", "y", "s", "0", "1", "42",
    "1984", "as", "is", "by", "my", "the", "them", "conditional", "conditionally", "rational",
    "aaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaab", "aaaaaaaaaaaaaaaab", "aaaaaaaaaaaaaaaac",
    "abcdefghijklmnop", "abcdefghijklmnopq", "abcdefghijklmnopr", "internationalisations",
    "internationalisation",
    "pneumonoultramicroscopicsilicovolcanoconiosispneumonoultramicroscopic",
};

// A byte is a character, a word of the list, or says that a number follows.
inline FuzzText fuzz_text(Input& input, std::size_t most_characters) {
    constexpr int kWidths[] = {leakrepro::kUtf8, 1, 2, 4};
    const std::uint8_t head = input.byte();
    const int width = kWidths[head & 3];
    const std::uint32_t most =
        width == leakrepro::kUtf8 ? 0x10FFFF : FuzzText::most(width);
    reference::Codes codes;
    const auto add = [&](std::uint32_t code) {
        const bool is_surrogate = code >= 0xD800 && code <= 0xDFFF;
        if (code <= most && !(width == leakrepro::kUtf8 && is_surrogate)) codes.push_back(code);
    };
    for (std::size_t left = std::size_t{head} >> 2 | std::size_t{input.byte()} << 6;
         left > 0 && !input.is_empty() && codes.size() < most_characters; --left) {
        const std::uint8_t op = input.byte();
        if (op < 128) {
            add(op);
        } else if (op < 240) {
            for (char c : kWords[op % (sizeof(kWords) / sizeof(*kWords))]) {
                add(static_cast<std::uint8_t>(c));
            }
            add(' ');
        } else if (op < 248) {  // one character many times
            const std::uint8_t code = input.byte();
            for (std::size_t n = input.byte(); n > 0; --n) add(code);
        } else if (op < 250) {
            add(op == 248 ? leakrepro::kCapitalIWithDot : leakrepro::kKelvinSign);
        } else if (op < 253) {
            add(input.number(2));
        } else {
            add(input.number(3) & 0x1FFFFF);
        }
    }
    return FuzzText(codes, width);
}

// Runs of ids: rising, falling or all one. Ids that must stay small are cut to `bits` bits.
inline std::vector<std::uint64_t> fuzz_ids(Input& input, int bits, std::size_t most) {
    std::vector<std::uint64_t> ids;
    for (std::size_t left = input.byte(); left > 0 && !input.is_empty() && ids.size() < most;
         --left) {
        const std::uint8_t op = input.byte();
        const std::uint64_t first = (op & 4) != 0 ? input.number(4) : input.byte();
        const std::size_t count = (op & 8) != 0 ? std::size_t{input.byte()} << (op >> 6) : 1;
        const std::uint64_t step = (op & 3) == 3 ? ~std::uint64_t{0} : op & 3;
        for (std::size_t i = 0; i < count && ids.size() < most; ++i) {
            ids.push_back((first + i * step) & ((std::uint64_t{1} << bits) - 1));
        }
    }
    return ids;
}
