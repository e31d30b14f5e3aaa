// Lengths of longest common subsequences of one reference and many candidates, by bit vectors.
//
// H. Hyyro, "Bit-parallel LCS-length computation revisited", AWOCA 2004. A bit vector V over the
// reference starts with ones. For each candidate token with match mask M (the places where the
// reference has that token): V = (V + (V & M)) | (V & ~M). The length is the number of zeros.
// Tokens become classes: 1, 2, ... for the different tokens of the reference, 0 for all others,
// which change nothing and are left out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace leakrepro {

// References of up to this many tokens fit one word.
constexpr std::size_t kShort = 64;

// Candidates of a short reference, a byte a token, in chunks of eight: candidate i has the chunks
// starts[i] up to starts[i + 1], the last of them filled up with zeros.
struct ShortSequences {
    const std::uint8_t* items;
    const std::size_t* starts;
    std::size_t count;
};

// lengths[i] of each candidate; masks[c] of classes 0 (nothing) to `classes`, which is at most 64.
using LcsShort = void (*)(const std::uint64_t* masks, std::size_t classes,
                          const ShortSequences& candidates, std::int32_t* lengths);

// Candidates of a long reference: candidate i is items[starts[i]] up to items[starts[i + 1]].
struct Sequences {
    const std::uint32_t* items;
    const std::size_t* starts;
    std::size_t count;
};

// Adds to lengths[i] what a band of `words` x 64 tokens of the reference gives. The masks of class
// c are the `words` words from row_of[c] x words on. carries[j] is the carry into the band at item
// j, replaced by the carry out of it.
using LcsBand = void (*)(const std::uint64_t* masks, std::size_t words,
                         const std::uint32_t* row_of, const Sequences& candidates,
                         std::uint8_t* carries, std::int32_t* lengths);

// Words of a band at most, and what their number is a multiple of.
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

// Takes a reference, then its candidates, then gives the lengths; and so on with the next one.
// Memory grows with the sum of the lengths, not their product.
class Lcs {
  public:
    struct Functions {
        LcsShort lcs_short;
        LcsBand band;
        BandShape shape;
    };

    explicit Lcs(const Functions& functions) : functions_(functions) {}

    // Classes of the reference's tokens, in [1, classes]. Forgets the candidates before.
    void set_reference(const std::uint32_t* tokens, std::size_t size, std::size_t classes);

    // Appends a candidate of at most `most` tokens. write(out) stores the classes of its tokens at
    // `out`, an array of std::uint8_t or std::uint32_t, and returns the end of them; it may write
    // kSlack entries more. Zeros are dropped by append(out, class).
    template <class Write>
    void add(std::size_t most, Write&& write);
    static constexpr std::size_t kSlack = 64;

    // Where to write all candidates of a short reference at once.
    struct ShortRoom {
        std::uint8_t* items;
        std::size_t* starts;  // one more than candidates; the first is 0

        // write(i, out) is that of add for candidate i.
        template <class Write>
        void fill(std::size_t count, Write&& write) const {
            for (std::size_t i = 0; i < count; ++i) {
                starts[i + 1] = end_chunk(items, write(i, items + 8 * starts[i]));
            }
        }
    };
    // Replaces all candidates by `count` of `tokens` tokens in all, to be written by the caller.
    ShortRoom short_room(std::size_t count, std::size_t tokens);

    // How many candidates there are.
    std::size_t count() const { return starts_.size() - 1; }

    // Writes lengths[count()].
    void get(std::int32_t* lengths);

  private:
    Functions functions_;
    std::vector<std::uint32_t> reference_;
    std::size_t classes_ = 0;
    std::vector<std::size_t> starts_;     // of each candidate: chunks, or items
    std::vector<std::uint8_t> bytes_;     // candidates of a short reference
    std::vector<std::uint32_t> items_;    // candidates of a long one
    struct alignas(64) CacheLine {  // so that no vector of masks lies in two
        std::uint64_t words[8] = {};
    };
    std::vector<CacheLine> masks_;        // all zero between calls
    std::vector<std::uint32_t> row_of_;   // by class; all zero between calls
    std::vector<std::uint8_t> carries_;

    bool is_short() const { return reference_.size() <= kShort; }
    // Fills the last chunk up with zeros and returns the start of the next one.
    static std::size_t end_chunk(const std::uint8_t* items, std::uint8_t* end) {
        std::memset(end, 0, 8);
        return (static_cast<std::size_t>(end - items) + 7) / 8;
    }
    void get_long(std::int32_t* lengths);
};

// Stores a class unless it is 0, without a branch that could be mispredicted.
template <class Class>
Class* append(Class* out, std::uint32_t its_class) {
    *out = static_cast<Class>(its_class);
    return out + (its_class != 0);
}

template <class Write>
void Lcs::add(std::size_t most, Write&& write) {
    if (is_short()) {
        const std::size_t begin = 8 * starts_.back();
        // Grows by doubling, and never shrinks.
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
