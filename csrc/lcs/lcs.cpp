#include "lcs/lcs.h"

#include <algorithm>
#include <array>

namespace leakrepro {

void Lcs::set_reference(const std::uint32_t* tokens, std::size_t size, std::size_t classes) {
    reference_.assign(tokens, tokens + size);
    classes_ = classes;
    starts_.assign(1, 0);
}

Lcs::ShortBuffer Lcs::short_buffer(std::size_t count, std::size_t tokens) {
    const std::size_t most = tokens + 8 * count + kSlack;
    if (bytes_.size() < most) bytes_.resize(2 * most);
    starts_.resize(count + 1);
    return {bytes_.data(), starts_.data()};
}

void Lcs::get(std::int32_t* lengths) {
    if (!is_short()) return get_long(lengths);
    std::array<std::uint64_t, kShort + 1> masks;
    std::fill_n(masks.begin(), classes_ + 1, 0);
    for (std::size_t i = 0; i < reference_.size(); ++i) {
        masks[reference_[i]] |= std::uint64_t{1} << i;
    }
    functions_.lcs_short(masks.data(), classes_, {bytes_.data(), starts_.data(), count()}, lengths);
}

void Lcs::get_long(std::int32_t* lengths) {
    std::fill_n(lengths, count(), 0);
    carries_.assign(starts_.back(), 0);
    row_of_.resize(std::max(row_of_.size(), classes_ + 1));
    const BandShape shape = functions_.shape;
    for (std::size_t begin = 0; begin < reference_.size(); begin += 64 * shape.most) {
        const std::size_t size = std::min(64 * shape.most, reference_.size() - begin);
        const std::size_t words = (size + 64 * shape.step - 1) / (64 * shape.step) * shape.step;
        masks_.resize(std::max(masks_.size(), ((size + 1) * words + 7) / 8));
        std::uint64_t* const masks = masks_.front().words;
        std::uint32_t rows = 0;
        for (std::size_t i = 0; i < size; ++i) {
            std::uint32_t& row = row_of_[reference_[begin + i]];
            if (row == 0) row = ++rows;
            masks[row * words + i / 64] |= std::uint64_t{1} << (i % 64);
        }
        functions_.band(masks, words, row_of_.data(),
                        {items_.data(), starts_.data(), count()}, carries_.data(), lengths);
        for (std::size_t i = 0; i < size; ++i) {
            masks[row_of_[reference_[begin + i]] * words + i / 64] = 0;
        }
        for (std::size_t i = 0; i < size; ++i) row_of_[reference_[begin + i]] = 0;
    }
}

}  // namespace leakrepro
