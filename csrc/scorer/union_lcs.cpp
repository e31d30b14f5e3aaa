#include "scorer/union_lcs.h"

#include <algorithm>
#include <cmath>

namespace leakrepro {
namespace {

// All columns are kept if they fit this many words. Otherwise only some are kept, and the others
// are recomputed.
constexpr std::size_t kMostWords = std::size_t{1} << 22;

}  // namespace

void UnionLcs::set_reference(const Sentence& reference, std::size_t classes) {
    for (std::uint32_t token : rows_) row_of_[token] = 0;
    rows_.clear();
    reference_ = reference;
    words_ = (reference.size + 63) / 64;
    row_of_.resize(std::max(row_of_.size(), classes + 1));
    masks_.assign(words_, 0);
    for (std::size_t i = 0; i < reference.size; ++i) {
        std::uint32_t& row = row_of_[reference.tokens[i]];
        if (row == 0) {
            rows_.push_back(reference.tokens[i]);
            row = static_cast<std::uint32_t>(rows_.size());
            masks_.resize(masks_.size() + words_);
        }
        masks_[row * words_ + i / 64] |= std::uint64_t{1} << (i % 64);
    }
    union_.assign(words_, 0);
}

// V' = (V + (V & M)) | (V & ~M) over several words.
void UnionLcs::next_column(const std::uint64_t* before, std::uint32_t token,
                           std::uint64_t* after) const {
    const std::uint64_t* const mask = masks_.data() + row_of_[token] * words_;
    std::uint64_t carry = 0;
    for (std::size_t w = 0; w < words_; ++w) {
        const std::uint64_t v = before[w], both = v & mask[w];
        const std::uint64_t sum = v + both, total = sum + carry;
        carry = (sum < v) | (total < sum);
        after[w] = total | (v & ~mask[w]);
    }
}

void UnionLcs::fill_block(const std::uint64_t* before, const std::uint32_t* tokens,
                          std::size_t count) {
    for (std::size_t j = 0; j < count; ++j) {
        std::uint64_t* const after = block_.data() + j * words_;
        next_column(before, tokens[j], after);
        before = after;
    }
}

void UnionLcs::add(const Sentence& candidate) {
    if (reference_.size == 0 || candidate.size == 0) return;
    const auto root = static_cast<std::size_t>(std::sqrt(candidate.size)) + 1;
    const std::size_t per_block =
        std::min(std::max(root, kMostWords / words_), candidate.size);
    const std::size_t blocks = (candidate.size + per_block - 1) / per_block;
    block_.resize(std::max(block_.size(), per_block * words_));
    checkpoints_.assign(blocks * words_, ~std::uint64_t{0});
    for (std::size_t b = 0; b + 1 < blocks; ++b) {
        fill_block(checkpoints_.data() + b * words_, candidate.tokens + b * per_block, per_block);
        std::copy_n(block_.data() + (per_block - 1) * words_, words_,
                    checkpoints_.data() + (b + 1) * words_);
    }
    std::size_t i = reference_.size;
    for (std::size_t b = blocks; b > 0 && i > 0; --b) {
        const std::uint32_t* const tokens = candidate.tokens + (b - 1) * per_block;
        std::size_t j = std::min(per_block, candidate.size - (b - 1) * per_block);
        fill_block(checkpoints_.data() + (b - 1) * words_, tokens, j);
        while (i > 0 && j > 0) {
            const std::size_t word = (i - 1) / 64;
            const std::uint64_t bit = std::uint64_t{1} << ((i - 1) % 64);
            if (reference_.tokens[i - 1] == tokens[j - 1]) {
                union_[word] |= bit;
                --i;
                --j;
            } else if ((block_[(j - 1) * words_ + word] & bit) == 0) {
                --j;
            } else {
                --i;
            }
        }
    }
}

}  // namespace leakrepro
