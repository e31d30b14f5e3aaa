#include "lcs/lcs.h"

#include <algorithm>

namespace leakrepro {

void Lcs::operator()(const std::vector<std::uint32_t>& reference, std::size_t classes,
                     const Sequences& candidates, std::size_t* lengths) {
    if (reference.size() <= 64) {
        masks_.assign(classes + 1, 0);
        for (std::size_t i = 0; i < reference.size(); ++i) {
            masks_[reference[i]] |= std::uint64_t{1} << i;
        }
        return short_(masks_.data(), candidates, lengths);
    }
    std::fill_n(lengths, candidates.count, 0);
    carries_.assign(candidates.offsets[candidates.count], 0);
    row_of_.assign(classes + 1, 0);
    for (std::size_t begin = 0; begin < reference.size(); begin += 64 * kBandWords) {
        const std::size_t size = std::min(64 * kBandWords, reference.size() - begin);
        const std::size_t words = (size + 63) / 64;
        masks_.assign((size + 1) * words, 0);
        std::uint32_t rows = 0;
        for (std::size_t i = 0; i < size; ++i) {
            std::uint32_t& row = row_of_[reference[begin + i]];
            if (row == 0) row = ++rows;
            masks_[row * words + i / 64] |= std::uint64_t{1} << (i % 64);
        }
        band_(masks_.data(), words, row_of_.data(), candidates, carries_.data(), lengths);
        for (std::size_t i = 0; i < size; ++i) row_of_[reference[begin + i]] = 0;
    }
}

}  // namespace leakrepro
