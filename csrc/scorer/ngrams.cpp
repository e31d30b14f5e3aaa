#include "scorer/ngrams.h"

#include <algorithm>

namespace leakrepro {

Ngrams::Edge& Ngrams::edge(std::uint32_t from, std::uint32_t by) {
    const std::uint64_t key = std::uint64_t{from} << 32 | by;
    std::size_t i = key * 0x9E3779B97F4A7C15 >> shift_;
    while (edges_[i].to != kNowhere && !(edges_[i].from == from && edges_[i].by == by)) {
        i = (i + 1) & (edges_.size() - 1);
    }
    return edges_[i];
}

void Ngrams::set_reference(const std::vector<std::uint32_t>& tokens, std::size_t most) {
    most_ = most;
    std::size_t size = 2;
    shift_ = 63;
    for (; size < 2 * tokens.size() * most; size *= 2) --shift_;
    edges_.assign(size, Edge{});
    counts_.assign(1, 0);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        std::uint32_t node = 0;
        for (std::size_t n = 0; n < std::min(most, tokens.size() - i); ++n) {
            Edge& next = edge(node, tokens[i + n]);
            if (next.to == kNowhere) {
                next = {node, tokens[i + n], static_cast<std::uint32_t>(counts_.size())};
                counts_.push_back(0);
            }
            node = next.to;
            ++counts_[node];
        }
    }
    used_.assign(counts_.size(), 0);
}

void Ngrams::count_shared(const std::vector<std::uint32_t>& candidate,
                          std::vector<std::size_t>& shared) {
    shared.assign(most_, 0);
    touched_.clear();
    for (std::size_t i = 0; i < candidate.size(); ++i) {
        std::uint32_t node = 0;
        for (std::size_t n = 0; n < std::min(most_, candidate.size() - i); ++n) {
            node = edge(node, candidate[i + n]).to;
            if (node == kNowhere) break;
            touched_.push_back(node);
            shared[n] += ++used_[node] <= counts_[node];
        }
    }
    for (std::uint32_t node : touched_) used_[node] = 0;
}

}  // namespace leakrepro
