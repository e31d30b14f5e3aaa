// Sorts candidates by length, so that the candidates of one vector have similar lengths.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "lcs/lcs.h"

namespace leakrepro {

// The indices of all candidates of a long reference, by decreasing length.
inline std::vector<std::size_t> longest_first(const Sequences& candidates) {
    std::vector<std::size_t> order(candidates.count);
    std::iota(order.begin(), order.end(), std::size_t{0});
    const std::size_t* starts = candidates.starts;
    std::sort(order.begin(), order.end(), [starts](std::size_t i, std::size_t j) {
        return starts[i + 1] - starts[i] > starts[j + 1] - starts[j];
    });
    return order;
}

// Up to kMost candidates from `first` on, by decreasing length. Lengths are capped at a limit.
struct ByLength {
    static constexpr std::size_t kMost = 1024;
    static constexpr std::size_t kLengths = 64;

    std::array<std::uint16_t, kMost> order;  // relative to `first`
    std::size_t count;

    ByLength(const ShortSequences& candidates, std::size_t first)
        : count(std::min(kMost, candidates.count - first)) {
        std::array<std::uint16_t, kLengths + 1> place{};
        const auto length = [&](std::size_t i) {
            const std::size_t* start = candidates.starts + first + i;
            return std::min(start[1] - start[0], kLengths - 1);
        };
        for (std::size_t i = 0; i < count; ++i) ++place[kLengths - 1 - length(i) + 1];
        for (std::size_t l = 1; l <= kLengths; ++l) place[l] += place[l - 1];
        for (std::size_t i = 0; i < count; ++i) {
            order[place[kLengths - 1 - length(i)]++] = static_cast<std::uint16_t>(i);
        }
    }
};

}  // namespace leakrepro
