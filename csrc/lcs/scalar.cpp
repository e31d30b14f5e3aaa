#include <algorithm>
#include <array>

#include "lcs/lcs.h"

namespace leakrepro {
namespace {

std::size_t zeros(std::uint64_t word) {
    return static_cast<std::size_t>(__builtin_popcountll(~word));
}

// One bit vector of kWords words in registers, or of `words` words in memory where kWords is 0.
template <std::size_t kWords>
void band(const std::uint64_t* masks, std::size_t words, const std::uint32_t* row_of,
          const Sequences& candidates, std::uint8_t* carries, std::size_t* lengths) {
    constexpr std::size_t kLongest = 16;
    if (kWords != 0) words = kWords;
    std::array<std::uint64_t, kWords != 0 ? kWords : kLongest> v;
    for (std::size_t i = 0; i < candidates.count; ++i) {
        std::fill_n(v.begin(), words, ~std::uint64_t{0});
        for (std::size_t j = candidates.offsets[i]; j < candidates.offsets[i + 1]; ++j) {
            const std::uint64_t* mask = masks + row_of[candidates.items[j]] * words;
            std::uint64_t carry = carries[j];
            for (std::size_t w = 0; w < words; ++w) {
                const std::uint64_t u = v[w] & mask[w];
                std::uint64_t sum;
                const bool first = __builtin_add_overflow(v[w], u, &sum);
                const bool second = __builtin_add_overflow(sum, carry, &sum);
                carry = first | second;
                v[w] = sum | (v[w] - u);
            }
            carries[j] = static_cast<std::uint8_t>(carry);
        }
        // Bits above the last token of the reference are never matched, so they stay one.
        for (std::size_t w = 0; w < words; ++w) lengths[i] += zeros(v[w]);
    }
}

}  // namespace

void lcs_short_scalar(const std::uint64_t* masks, const Sequences& candidates,
                      std::size_t* lengths) {
    for (std::size_t i = 0; i < candidates.count; ++i) {
        std::uint64_t v = ~std::uint64_t{0};
        for (std::size_t j = candidates.offsets[i]; j < candidates.offsets[i + 1]; ++j) {
            const std::uint64_t u = v & masks[candidates.items[j]];
            v = (v + u) | (v - u);
        }
        lengths[i] = zeros(v);
    }
}

void lcs_band_scalar(const std::uint64_t* masks, std::size_t words, const std::uint32_t* row_of,
                     const Sequences& candidates, std::uint8_t* carries, std::size_t* lengths) {
    switch (words) {
        case 2:
            return band<2>(masks, words, row_of, candidates, carries, lengths);
        case 3:
            return band<3>(masks, words, row_of, candidates, carries, lengths);
        case 4:
            return band<4>(masks, words, row_of, candidates, carries, lengths);
        default:
            return band<0>(masks, words, row_of, candidates, carries, lengths);
    }
}

}  // namespace leakrepro
