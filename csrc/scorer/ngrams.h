// Counts of n-grams that a candidate shares with a reference, for all n up to a limit at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace leakrepro {

// The n-grams of the reference as a trie, one node for each different n-gram. Sequences hold
// classes as in lcs.h: 1, 2, ... for the different tokens of the reference, 0 for all others.
class Ngrams {
  public:
    // Takes the n-grams for n from 1 to `most`.
    void set_reference(const std::vector<std::uint32_t>& tokens, std::size_t most);

    // shared[n - 1] becomes the sum over the different n-grams of the lesser of their two counts.
    void count_shared(const std::vector<std::uint32_t>& candidate,
                      std::vector<std::size_t>& shared);

  private:
    struct Edge {
        std::uint32_t from, by;      // node and class
        std::uint32_t to = kNowhere;
    };
    static constexpr std::uint32_t kNowhere = 0xFFFFFFFF;

    std::size_t most_ = 0;
    std::vector<Edge> edges_;  // a hash table, half full at most
    int shift_ = 0;
    std::vector<std::uint32_t> counts_;  // by node: in the reference; the root is node 0
    std::vector<std::uint32_t> used_;    // by node: in the candidate; all zero between calls
    std::vector<std::uint32_t> touched_;

    Edge& edge(std::uint32_t from, std::uint32_t by);
};

}  // namespace leakrepro
