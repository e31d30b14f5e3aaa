// Lengths of the longest common subsequences (LCS) of one reference and many candidates, computed
// with bit vectors.
//
// H. Hyyro, "Bit-parallel LCS-length computation revisited", AWOCA 2004. A bit vector V over the
// reference starts with all ones. For each candidate token with match mask M (the positions of that
// token in the reference): V = (V + (V & M)) | (V & ~M). The length is the number of zeros in V.
// Tokens are mapped to classes: 1, 2, ... for the different tokens of the reference, 0 for all
// others, which do not change V and are omitted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace leakrepro {

// Maximum number of tokens of a reference that fits one word.
constexpr std::size_t kShort = 64;

// Candidates of a short reference, one byte per token, in chunks of eight: candidate i has the
// chunks starts[i] to starts[i + 1] - 1, and the last one is padded with zeros.
struct ShortSequences {
    const std::uint8_t* items;
    const std::size_t* starts;
    std::size_t count;
};

// Writes the LCS length of each candidate. masks[c] is the mask of class c, 0 to `classes` (at most
// 64); masks[0] is zero.
using LcsShort = void (*)(const std::uint64_t* masks, std::size_t classes,
                          const ShortSequences& candidates, std::int32_t* lengths);

// Candidates of a long reference: candidate i is items[starts[i]] to items[starts[i + 1] - 1].
struct Sequences {
    const std::uint32_t* items;
    const std::size_t* starts;
    std::size_t count;
};

// Adds the contribution of a band of `words` x 64 tokens of the reference to lengths[i]. The mask
// of class c is in the `words` words from row_of[c] * words on. carries[j] is the carry into the
// band at item j and is replaced by the carry out of it.
using LcsBand = void (*)(const std::uint64_t* masks, std::size_t words,
                         const std::uint32_t* row_of, const Sequences& candidates,
                         std::uint8_t* carries, std::int32_t* lengths);

// Maximum number of words per band; their number is a multiple of `step`.
struct BandShape {
    std::size_t most, step;
};

void lcs_short_scalar(const std::uint64_t*, std::size_t, const ShortSequences&, std::int32_t*);
void lcs_short_avx2(const std::uint64_t*, std::size_t, const ShortSequences&, std::int32_t*);
void lcs_short_avx512(const std::uint64_t*, std::size_t, const ShortSequences&, std::int32_t*);

constexpr BandShape kBandScalar{16, 1}, kBandAvx2{32, 4}, kBandAvx512{32, 8};
void lcs_band_scalar(const std::uint64_t*, std::size_t, const std::uint32_t*, const Sequences&,
                     std::uint8_t*, std::int32_t*);
void lcs_band_avx2(const std::uint64_t*, std::size_t, const std::uint32_t*, const Sequences&,
                   std::uint8_t*, std::int32_t*);
void lcs_band_avx512(const std::uint64_t*, std::size_t, const std::uint32_t*, const Sequences&,
                     std::uint8_t*, std::int32_t*);

// Computes LCS lengths: set a reference, add its candidates, get the lengths; then repeat with the
// next reference. Memory grows with the sum of the sequence lengths, not with their product.
class Lcs {
  public:
    struct Functions {
        LcsShort lcs_short;
        LcsBand band;
        BandShape shape;
    };

    explicit Lcs(const Functions& functions) : functions_(functions) {}

    // `tokens` are the classes of the reference's tokens, in [1, classes]. Removes all candidates.
    void set_reference(const std::uint32_t* tokens, std::size_t size, std::size_t classes);

    // Appends a candidate of at most `most` tokens. write(out) stores the nonzero classes of its
    // tokens at `out`, an array of std::uint8_t or std::uint32_t, for example with append(), and
    // returns their end. It may write kSlack more entries.
    template <class Write>
    void add(std::size_t most, Write&& write);
    static constexpr std::size_t kSlack = 64;

    // A buffer for all candidates of a short reference.
    struct ShortBuffer {
        std::uint8_t* items;
        std::size_t* starts;  // one entry more than candidates; the first is 0

        // write(i, out) stores candidate i, as write(out) does for add.
        template <class Write>
        void fill(std::size_t count, Write&& write) const {
            for (std::size_t i = 0; i < count; ++i) {
                starts[i + 1] = end_chunk(items, write(i, items + 8 * starts[i]));
            }
        }
    };
    // Removes all candidates and returns a buffer for `count` candidates of `tokens` tokens in
    // total.
    ShortBuffer short_buffer(std::size_t count, std::size_t tokens);

    // Number of candidates.
    std::size_t count() const { return starts_.size() - 1; }

    // Writes lengths[count()].
    void get(std::int32_t* lengths);

  private:
    Functions functions_;
    std::vector<std::uint32_t> reference_;
    std::size_t classes_ = 0;
    std::vector<std::size_t> starts_;     // start of each candidate, in chunks or items
    std::vector<std::uint8_t> bytes_;     // candidates of a short reference
    std::vector<std::uint32_t> items_;    // candidates of a long reference
    struct alignas(64) CacheLine {  // aligned, so that a vector of masks does not cross cache lines
        std::uint64_t words[8] = {};
    };
    std::vector<CacheLine> masks_;        // all zero between calls
    std::vector<std::uint32_t> row_of_;   // by class; all zero between calls
    std::vector<std::uint8_t> carries_;

    bool is_short() const { return reference_.size() <= kShort; }
    // Pads the last chunk with zeros and returns the index of the next chunk.
    static std::size_t end_chunk(const std::uint8_t* items, std::uint8_t* end) {
        std::memset(end, 0, 8);
        return (static_cast<std::size_t>(end - items) + 7) / 8;
    }
    void get_long(std::int32_t* lengths);
};

// Stores a nonzero class. It does not use a branch, which would often be mispredicted.
template <class Class>
Class* append(Class* out, std::uint32_t its_class) {
    *out = static_cast<Class>(its_class);
    return out + (its_class != 0);
}

template <class Write>
void Lcs::add(std::size_t most, Write&& write) {
    if (is_short()) {
        const std::size_t begin = 8 * starts_.back();
        // Grows by doubling and never shrinks.
        if (bytes_.size() < begin + most + kSlack) bytes_.resize(2 * (begin + most + kSlack));
        starts_.push_back(end_chunk(bytes_.data(), write(bytes_.data() + begin)));
    } else {
        const std::size_t begin = starts_.back();
        if (items_.size() < begin + most + kSlack) items_.resize(2 * (begin + most + kSlack));
        const std::uint32_t* end = write(items_.data() + begin);
        starts_.push_back(static_cast<std::size_t>(end - items_.data()));
    }
}

}  // namespace leakrepro
