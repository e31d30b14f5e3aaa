#include "lcs/lcs.h"
#include "lcs/order.h"
#include "target.h"

#ifdef __x86_64__
LEAKREPRO_AVX2

namespace leakrepro {
namespace {

constexpr std::size_t kLanes = 4;    // candidates per vector, or words of one bit vector per vector
constexpr std::size_t kVectors = 4;  // processed together to hide the latency of a step

__m256i all_ones() { return _mm256_set1_epi64x(-1); }

__m256i load(const std::uint64_t* words) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
}

// sum | (v & ~m), the second half of a step.
__m256i merge(__m256i sum, __m256i v, __m256i m) {
    return _mm256_or_si256(sum, _mm256_andnot_si256(m, v));
}

void store(std::uint64_t* words, __m256i v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), v);
}

// The bit vector of one candidate, kVectorsEach x 4 words. Carries between words are computed with
// masks: a word generates a carry if its sum overflows, and propagates one if its sum is all ones.
template <std::size_t kVectorsEach>
class Band {
  public:
    Band() {
        for (__m256i& v : v_) v = all_ones();
    }

    void step(const std::uint64_t* row, std::uint8_t& carry) {
        const __m256i top = _mm256_set1_epi64x(static_cast<long long>(1ull << 63));
        __m256i m[kVectorsEach], sum[kVectorsEach];
        std::uint64_t gives = 0, passes = 0;
        const auto bits = [](__m256i mask) {
            return static_cast<std::uint64_t>(_mm256_movemask_pd(_mm256_castsi256_pd(mask)));
        };
        for (std::size_t i = 0; i < kVectorsEach; ++i) {
            m[i] = load(row + i * kLanes);
            sum[i] = _mm256_add_epi64(v_[i], _mm256_and_si256(v_[i], m[i]));
            // Unsigned v > sum, computed with a signed comparison.
            const __m256i overflow =
                _mm256_cmpgt_epi64(_mm256_xor_si256(v_[i], top), _mm256_xor_si256(sum[i], top));
            gives |= bits(overflow) << (i * kLanes);
            passes |= bits(_mm256_cmpeq_epi64(sum[i], all_ones())) << (i * kLanes);
        }
        const std::uint64_t rippled = (gives << 1 | carry) + passes;
        const std::uint64_t takes = rippled ^ passes;
        carry = static_cast<std::uint8_t>(rippled >> (kVectorsEach * kLanes) & 1);
        for (std::size_t i = 0; i < kVectorsEach; ++i) {
            const __m256i which = _mm256_set1_epi64x(static_cast<long long>(takes >> (i * kLanes)));
            const __m256i lane = _mm256_setr_epi64x(1, 2, 4, 8);
            const __m256i takes_one = _mm256_cmpeq_epi64(_mm256_and_si256(which, lane), lane);
            v_[i] = merge(_mm256_sub_epi64(sum[i], takes_one), v_[i], m[i]);
        }
    }

    std::int32_t zeros() const {
        std::int32_t count = 0;
        for (const __m256i& v : v_) {
            std::uint64_t words[kLanes];
            store(words, v);
            for (std::uint64_t word : words) count += static_cast<std::int32_t>(_mm_popcnt_u64(~word));
        }
        return count;
    }

  private:
    __m256i v_[kVectorsEach];
};

template <std::size_t kVectorsEach>
void band(const std::uint64_t* masks, const std::uint32_t* row_of, const Sequences& candidates,
          std::uint8_t* carries, std::int32_t* lengths) {
    for (std::size_t i = 0; i < candidates.count; ++i) {
        Band<kVectorsEach> band;
        for (std::size_t j = candidates.starts[i]; j < candidates.starts[i + 1]; ++j) {
            band.step(masks + row_of[candidates.items[j]] * kVectorsEach * kLanes, carries[j]);
        }
        lengths[i] += band.zeros();
    }
}

}  // namespace

void lcs_short_avx2(const std::uint64_t* masks, std::size_t classes,
                    const ShortSequences& candidates, std::int32_t* lengths) {
    if (candidates.count < 3) return lcs_short_scalar(masks, classes, candidates, lengths);
    for (std::size_t first = 0; first < candidates.count; first += ByLength::kMost) {
        const ByLength sorted(candidates, first);
        constexpr std::size_t kBatch = kLanes * kVectors;
        for (std::size_t b = 0; b < sorted.count; b += kBatch) {
            const std::size_t size = std::min(kBatch, sorted.count - b);
            std::uint64_t start[kBatch] = {}, chunks[kBatch] = {};
            std::uint64_t most = 0;
            for (std::size_t i = 0; i < size; ++i) {
                const std::size_t* s = candidates.starts + first + sorted.order[b + i];
                start[i] = s[0];
                chunks[i] = s[1] - s[0];
                most = std::max(most, chunks[i]);
            }
            __m256i place[kVectors], left[kVectors], v[kVectors];
            for (std::size_t k = 0; k < kVectors; ++k) {
                place[k] = load(start + k * kLanes);
                left[k] = load(chunks + k * kLanes);
                v[k] = all_ones();
            }
            for (std::uint64_t c = 0; c < most; ++c) {
                __m256i tokens[kVectors];
                for (std::size_t k = 0; k < kVectors; ++k) {
                    const __m256i more = _mm256_cmpgt_epi64(
                        left[k], _mm256_set1_epi64x(static_cast<long long>(c)));
                    tokens[k] = _mm256_mask_i64gather_epi64(
                        _mm256_setzero_si256(), reinterpret_cast<const long long*>(candidates.items),
                        place[k], more, 8);
                    place[k] = _mm256_add_epi64(place[k], _mm256_set1_epi64x(1));
                }
                for (int t = 0; t < 8; ++t) {
                    for (std::size_t k = 0; k < kVectors; ++k) {
                        const __m256i m = _mm256_i64gather_epi64(
                            reinterpret_cast<const long long*>(masks),
                            _mm256_and_si256(tokens[k], _mm256_set1_epi64x(0xFF)), 8);
                        v[k] = merge(_mm256_add_epi64(v[k], _mm256_and_si256(v[k], m)), v[k], m);
                        tokens[k] = _mm256_srli_epi64(tokens[k], 8);
                    }
                }
            }
            std::uint64_t words[kBatch];
            for (std::size_t k = 0; k < kVectors; ++k) store(words + k * kLanes, v[k]);
            for (std::size_t i = 0; i < size; ++i) {
                lengths[first + sorted.order[b + i]] =
                    static_cast<std::int32_t>(_mm_popcnt_u64(~words[i]));
            }
        }
    }
}

void lcs_band_avx2(const std::uint64_t* masks, std::size_t words, const std::uint32_t* row_of,
                   const Sequences& candidates, std::uint8_t* carries, std::int32_t* lengths) {
    switch (words / kLanes) {
        case 1: return band<1>(masks, row_of, candidates, carries, lengths);
        case 2: return band<2>(masks, row_of, candidates, carries, lengths);
        case 3: return band<3>(masks, row_of, candidates, carries, lengths);
        case 4: return band<4>(masks, row_of, candidates, carries, lengths);
        case 5: return band<5>(masks, row_of, candidates, carries, lengths);
        case 6: return band<6>(masks, row_of, candidates, carries, lengths);
        case 7: return band<7>(masks, row_of, candidates, carries, lengths);
        default: return band<8>(masks, row_of, candidates, carries, lengths);
    }
}

}  // namespace leakrepro

LEAKREPRO_TARGET_END
#endif
