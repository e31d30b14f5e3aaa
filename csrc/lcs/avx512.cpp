#include "lcs/lcs.h"
#include "lcs/order.h"
#include "target.h"

#ifdef __x86_64__
LEAKREPRO_AVX512

namespace leakrepro {
namespace {

constexpr std::size_t kLanes = 8;    // candidates per vector, or words of one bit vector per vector
constexpr std::size_t kVectors = 4;  // processed together to hide the latency of a step

__m512i all_ones() { return _mm512_set1_epi64(-1); }

// (v + (v & m)) | (v & ~m)
__m512i step(__m512i v, __m512i m) {
    const __m512i sum = _mm512_add_epi64(v, _mm512_and_si512(v, m));
    return _mm512_ternarylogic_epi64(sum, v, m, 0xF4);  // a | (b & ~c)
}

// Looks up masks by the class in the low byte of each lane. Permuting registers avoids memory
// reads.
class Table16 {
  public:
    explicit Table16(const std::uint64_t* masks)
        : low_(_mm512_loadu_si512(masks)), high_(_mm512_loadu_si512(masks + 8)) {}
    __m512i operator()(__m512i classes) const {
        return _mm512_permutex2var_epi64(low_, classes, high_);
    }

  private:
    __m512i low_, high_;
};

class Table32 {
  public:
    explicit Table32(const std::uint64_t* masks) : low_(masks), high_(masks + 16) {}
    __m512i operator()(__m512i classes) const {
        const __mmask8 is_high = _mm512_test_epi64_mask(classes, _mm512_set1_epi64(16));
        return _mm512_mask_blend_epi64(is_high, low_(classes), high_(classes));
    }

  private:
    Table16 low_, high_;
};

class TableInMemory {
  public:
    explicit TableInMemory(const std::uint64_t* masks) : masks_(masks) {}
    __m512i operator()(__m512i classes) const {
        const __m512i index = _mm512_and_si512(classes, _mm512_set1_epi64(0xFF));
        return _mm512_i64gather_epi64(index, masks_, 8);
    }

  private:
    const std::uint64_t* masks_;
};

template <class Table>
void lcs_short(const Table& table, const ShortSequences& candidates, std::int32_t* lengths) {
    for (std::size_t first = 0; first < candidates.count; first += ByLength::kMost) {
        const ByLength sorted(candidates, first);
        constexpr std::size_t kBatch = kLanes * kVectors;
        for (std::size_t b = 0; b < sorted.count; b += kBatch) {
            const std::size_t size = std::min(kBatch, sorted.count - b);
            alignas(64) std::uint64_t start[kBatch] = {}, chunks[kBatch] = {};
            std::uint64_t most = 0;
            for (std::size_t i = 0; i < size; ++i) {
                const std::size_t* s = candidates.starts + first + sorted.order[b + i];
                start[i] = s[0];
                chunks[i] = s[1] - s[0];
                most = std::max(most, chunks[i]);
            }
            __m512i place[kVectors], left[kVectors], v[kVectors];
            for (std::size_t k = 0; k < kVectors; ++k) {
                place[k] = _mm512_load_si512(start + k * kLanes);
                left[k] = _mm512_load_si512(chunks + k * kLanes);
                v[k] = all_ones();
            }
            for (std::uint64_t c = 0; c < most; ++c) {
                __m512i classes[kVectors];
                for (std::size_t k = 0; k < kVectors; ++k) {
                    const __mmask8 more =
                        _mm512_cmpgt_epu64_mask(left[k], _mm512_set1_epi64(static_cast<long long>(c)));
                    classes[k] = _mm512_mask_i64gather_epi64(_mm512_setzero_si512(), more, place[k],
                                                             candidates.items, 8);
                    place[k] = _mm512_add_epi64(place[k], _mm512_set1_epi64(1));
                }
                for (int t = 0; t < 8; ++t) {
                    for (std::size_t k = 0; k < kVectors; ++k) {
                        v[k] = step(v[k], table(classes[k]));
                        classes[k] = _mm512_srli_epi64(classes[k], 8);
                    }
                }
            }
            alignas(64) std::int32_t zeros[kBatch];
            for (std::size_t k = 0; k < kVectors; ++k) {
                const __m512i count =
                    _mm512_popcnt_epi64(_mm512_andnot_si512(v[k], all_ones()));
                _mm256_store_si256(reinterpret_cast<__m256i*>(zeros + k * kLanes),
                                   _mm512_cvtepi64_epi32(count));
            }
            for (std::size_t i = 0; i < size; ++i) {
                lengths[first + sorted.order[b + i]] = zeros[i];
            }
        }
    }
}

// The bit vector of one candidate, kVectorsEach x 8 words. Carries between words are computed with
// masks: a word generates a carry if its sum overflows, and propagates one if its sum is all ones.
template <std::size_t kVectorsEach>
class Band {
  public:
    Band() {
        for (__m512i& v : v_) v = all_ones();
    }

    void step(const std::uint64_t* row, std::uint8_t& carry) {
        __m512i m[kVectorsEach], sum[kVectorsEach];
        std::uint64_t gives = 0, passes = 0;
        for (std::size_t i = 0; i < kVectorsEach; ++i) {
            m[i] = _mm512_loadu_si512(row + i * kLanes);
            sum[i] = _mm512_add_epi64(v_[i], _mm512_and_si512(v_[i], m[i]));
            gives |= static_cast<std::uint64_t>(_mm512_cmplt_epu64_mask(sum[i], v_[i]))
                     << (i * kLanes);
            passes |= static_cast<std::uint64_t>(_mm512_cmpeq_epi64_mask(sum[i], all_ones()))
                      << (i * kLanes);
        }
        const std::uint64_t rippled = (gives << 1 | carry) + passes;
        const std::uint64_t takes = rippled ^ passes;
        carry = static_cast<std::uint8_t>(rippled >> (kVectorsEach * kLanes) & 1);
        for (std::size_t i = 0; i < kVectorsEach; ++i) {
            const auto here = static_cast<__mmask8>(takes >> (i * kLanes));
            sum[i] = _mm512_mask_sub_epi64(sum[i], here, sum[i], all_ones());
            v_[i] = _mm512_ternarylogic_epi64(sum[i], v_[i], m[i], 0xF4);  // a | (b & ~c)
        }
    }

    std::int32_t zeros() const {
        __m512i count = _mm512_setzero_si512();
        for (const __m512i& v : v_) {
            count = _mm512_add_epi64(count, _mm512_popcnt_epi64(_mm512_andnot_si512(v, all_ones())));
        }
        return static_cast<std::int32_t>(_mm512_reduce_add_epi64(count));
    }

  private:
    __m512i v_[kVectorsEach];
};

template <std::size_t kVectorsEach>
void band(const std::uint64_t* masks, const std::uint32_t* row_of, const Sequences& candidates,
          std::uint8_t* carries, std::int32_t* lengths) {
    constexpr std::size_t kWords = kVectorsEach * kLanes;
    const auto advance = [&](Band<kVectorsEach>& band, std::size_t j) {
        band.step(masks + row_of[candidates.items[j]] * kWords, carries[j]);
    };
    // Two candidates of similar length at a time, to hide the latency of loading masks.
    const std::vector<std::size_t> order = longest_first(candidates);
    for (std::size_t n = 0; n < order.size(); n += 2) {
        Band<kVectorsEach> a, b;
        const std::size_t first = order[n];
        std::size_t ja = candidates.starts[first];
        if (n + 1 < order.size()) {
            const std::size_t second = order[n + 1];
            for (std::size_t jb = candidates.starts[second]; jb < candidates.starts[second + 1];) {
                advance(a, ja++);
                advance(b, jb++);
            }
            lengths[second] += b.zeros();
        }
        while (ja < candidates.starts[first + 1]) advance(a, ja++);
        lengths[first] += a.zeros();
    }
}

}  // namespace

void lcs_short_avx512(const std::uint64_t* masks, std::size_t classes,
                      const ShortSequences& candidates, std::int32_t* lengths) {
    if (candidates.count < 3) return lcs_short_scalar(masks, classes, candidates, lengths);
    if (classes > 31) return lcs_short(TableInMemory(masks), candidates, lengths);
    alignas(64) std::uint64_t padded[32] = {};
    std::copy_n(masks, classes + 1, padded);
    if (classes > 15) return lcs_short(Table32(padded), candidates, lengths);
    lcs_short(Table16(padded), candidates, lengths);
}

void lcs_band_avx512(const std::uint64_t* masks, std::size_t words, const std::uint32_t* row_of,
                     const Sequences& candidates, std::uint8_t* carries, std::int32_t* lengths) {
    switch (words / kLanes) {
        case 1: return band<1>(masks, row_of, candidates, carries, lengths);
        case 2: return band<2>(masks, row_of, candidates, carries, lengths);
        case 3: return band<3>(masks, row_of, candidates, carries, lengths);
        default: return band<4>(masks, row_of, candidates, carries, lengths);
    }
}

}  // namespace leakrepro

LEAKREPRO_TARGET_END
#endif
