// The set of first two letters with which a token must begin to be looked up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace leakrepro {

// A set of pairs of letters or digits; the second is NUL for tokens of one letter. Only five bits
// of each character are stored, so the set may admit pairs that were not added, but it always
// admits pairs that were.
class Beginnings {
  public:
    static constexpr std::size_t kBytes = 128;

    Beginnings() { add_all(); }

    void add_all() { std::memset(bits_, 0xFF, kBytes); }
    void clear() { std::memset(bits_, 0, kBytes); }
    void add(char first, char second) { bits_[byte(first, second)] |= bit(first); }
    // `token` is NUL-terminated.
    bool admits(const char* token) const {
        return (bits_[byte(token[0], token[1])] & bit(token[0])) != 0;
    }

    // Byte (second & 31) << 2 | (first & 3), bit (first >> 2) & 7.
    const std::uint8_t* bits() const { return bits_; }

  private:
    alignas(64) std::uint8_t bits_[kBytes];

    static std::size_t byte(char first, char second) {
        return static_cast<std::size_t>((second & 31) << 2 | (first & 3));
    }
    static std::uint8_t bit(char first) {
        return static_cast<std::uint8_t>(1 << (first >> 2 & 7));
    }
};

}  // namespace leakrepro
