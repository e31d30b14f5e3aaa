#include <array>
#include <utility>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "lcs/lcs.h"

namespace leakrepro {
namespace {

std::int32_t zeros(std::uint64_t word) { return __builtin_popcountll(~word); }

// Returns a + b + carry, and replaces `carry` by the carry out.
inline std::uint64_t add(std::uint64_t a, std::uint64_t b, unsigned char& carry) {
#ifdef __x86_64__
    unsigned long long sum;
    carry = _addcarry_u64(carry, a, b, &sum);
    return sum;
#else
    std::uint64_t sum;
    const bool first = __builtin_add_overflow(a, b, &sum);
    const bool second = __builtin_add_overflow(sum, std::uint64_t{carry}, &sum);
    carry = first | second;
    return sum;
#endif
}

// A bit vector of kWords words; one function per number of words, so that the inner loop is
// unrolled.
template <std::size_t kWords>
void band(const std::uint64_t* masks, const std::uint32_t* row_of, const Sequences& candidates,
          std::uint8_t* carries, std::int32_t* lengths) {
    for (std::size_t i = 0; i < candidates.count; ++i) {
        std::array<std::uint64_t, kWords> v;
        v.fill(~std::uint64_t{0});
        for (std::size_t j = candidates.starts[i]; j < candidates.starts[i + 1]; ++j) {
            const std::uint64_t* mask = masks + row_of[candidates.items[j]] * kWords;
            unsigned char carry = carries[j];
            for (std::size_t w = 0; w < kWords; ++w) {
                const std::uint64_t u = v[w] & mask[w];
                v[w] = add(v[w], u, carry) | (v[w] - u);
            }
            carries[j] = carry;
        }
        // Bits after the last token of the reference are never matched and remain ones.
        for (std::uint64_t word : v) lengths[i] += zeros(word);
    }
}

using Band = decltype(&band<1>);

template <std::size_t... kWords>
constexpr std::array<Band, sizeof...(kWords)> make_bands(std::index_sequence<kWords...>) {
    return {band<kWords + 1>...};
}

constexpr auto kBands = make_bands(std::make_index_sequence<kBandScalar.most>());

}  // namespace

void lcs_short_scalar(const std::uint64_t* masks, std::size_t, const ShortSequences& candidates,
                      std::int32_t* lengths) {
    for (std::size_t i = 0; i < candidates.count; ++i) {
        std::uint64_t v = ~std::uint64_t{0};
        for (std::size_t j = 8 * candidates.starts[i]; j < 8 * candidates.starts[i + 1]; ++j) {
            const std::uint64_t u = v & masks[candidates.items[j]];
            v = (v + u) | (v - u);
        }
        lengths[i] = zeros(v);
    }
}

void lcs_band_scalar(const std::uint64_t* masks, std::size_t words, const std::uint32_t* row_of,
                     const Sequences& candidates, std::uint8_t* carries, std::int32_t* lengths) {
    kBands[words - 1](masks, row_of, candidates, carries, lengths);
}

}  // namespace leakrepro
