// Counts the n-grams that a candidate shares with a reference, for all n up to a limit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace leakrepro {

// The n-grams of the reference as a trie with one node per different n-gram. Sequences are classes,
// as in lcs.h: 1, 2, ... for the different tokens of the reference, 0 for all others.
class Ngrams {
  public:
    // Sets the reference; n ranges from 1 to `most`.
    void set_reference(const std::vector<std::uint32_t>& tokens, std::size_t most);

    // Sets shared[n - 1] to the sum, over all different n-grams, of the smaller of the two counts.
    void count_shared(const std::vector<std::uint32_t>& candidate,
                      std::vector<std::size_t>& shared);

  private:
    struct Edge {
        std::uint32_t from, by;      // node and class
        std::uint32_t to = kNowhere;
    };
    static constexpr std::uint32_t kNowhere = 0xFFFFFFFF;

    std::size_t most_ = 0;
    std::vector<Edge> edges_;  // a hash table, at most half full
    int shift_ = 0;
    std::vector<std::uint32_t> counts_;  // by node: count in the reference; the root is node 0
    std::vector<std::uint32_t> used_;    // by node: count in the candidate; zero between calls
    std::vector<std::uint32_t> touched_;

    Edge& edge(std::uint32_t from, std::uint32_t by);
};

}  // namespace leakrepro
