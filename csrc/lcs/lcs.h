// Lengths of longest common subsequences of one reference and many candidates, by bit vectors.
//
// H. Hyyro, "Bit-parallel LCS-length computation revisited", AWOCA 2004. A bit vector V over the
// reference starts with ones. For each candidate token with match mask M (the places where the
// reference has that token): U = V & M; V = (V + U) | (V - U). The length is the number of zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace leakrepro {

// Candidates back to back: candidate i is items[offsets[i]] up to items[offsets[i + 1]].
struct Sequences {
    const std::uint32_t* items;
    const std::size_t* offsets;
    std::size_t count;
};

// Words of a bit vector at most; longer references are cut into bands. A band has at most as many
// rows as tokens, plus row 0 for absent ones: its table, at most 131 kB, fits a second-level cache.
constexpr std::size_t kBandWords = 16;

// What an instruction set provides. Both read masks laid out in rows, one row a class of tokens.

// lengths[i] for a reference of up to 64 tokens: one word a row, row = class.
using LcsShort = void (*)(const std::uint64_t* masks, const Sequences& candidates,
                          std::size_t* lengths);

// Adds to lengths[i] what a band of `words` x 64 tokens of the reference gives, with `words` from 1
// to kBandWords. `row_of[class]` is the class's row of masks. carries[j] is the carry into the band
// at item j, replaced by the carry out of it.
using LcsBand = void (*)(const std::uint64_t* masks, std::size_t words,
                         const std::uint32_t* row_of, const Sequences& candidates,
                         std::uint8_t* carries, std::size_t* lengths);

void lcs_short_scalar(const std::uint64_t* masks, const Sequences& candidates,
                      std::size_t* lengths);
void lcs_band_scalar(const std::uint64_t* masks, std::size_t words, const std::uint32_t* row_of,
                     const Sequences& candidates, std::uint8_t* carries, std::size_t* lengths);

// Builds the masks and runs the right one of the two; keeps its buffers from call to call.
class Lcs {
  public:
    Lcs(LcsShort lcs_short, LcsBand lcs_band) : short_(lcs_short), band_(lcs_band) {}

    // `reference` and `candidates` hold classes of tokens in [1, classes]; the lengths are written
    // to lengths[candidates.count]. Memory grows with the sum of the lengths, not their product.
    void operator()(const std::vector<std::uint32_t>& reference, std::size_t classes,
                    const Sequences& candidates, std::size_t* lengths);

  private:
    LcsShort short_;
    LcsBand band_;
    std::vector<std::uint64_t> masks_;
    std::vector<std::uint32_t> row_of_;
    std::vector<std::uint8_t> carries_;
};

}  // namespace leakrepro
