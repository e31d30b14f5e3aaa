#include "lcs/classify.h"

#include <algorithm>

#include "target.h"

namespace leakrepro {

void classify_scalar(const IdCandidates& candidates, const ClassTable& table,
                     const Lcs::ShortBuffer& buffer) {
    with_id_type(candidates.ids, candidates.width, [&](const auto* ids) {
        buffer.fill(candidates.count, [&](std::size_t i, std::uint8_t* out) {
            const std::int64_t* offset = candidates.offsets + i;
            return classify(ids + offset[0], static_cast<std::size_t>(offset[1] - offset[0]),
                            table.classes, table.size, out);
        });
    });
}

}  // namespace leakrepro

#ifdef __x86_64__
LEAKREPRO_AVX512

namespace leakrepro {
namespace {

constexpr std::size_t kWorthHashing = 16;  // candidates from which building a hash pays off

// 256 bytes in registers.
class ByteTable {
  public:
    explicit ByteTable(const std::uint8_t* bytes)
        : low0_(_mm512_loadu_si512(bytes)),
          low1_(_mm512_loadu_si512(bytes + 64)),
          high0_(_mm512_loadu_si512(bytes + 128)),
          high1_(_mm512_loadu_si512(bytes + 192)) {}

    __m512i operator[](__m512i index) const {
        return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index),
                                      _mm512_permutex2var_epi8(low0_, index, low1_),
                                      _mm512_permutex2var_epi8(high0_, index, high1_));
    }

  private:
    __m512i low0_, low1_, high0_, high1_;
};

std::uint8_t* append_known(__mmask64 valid, __m512i classes, std::uint8_t* out) {
    const __mmask64 known = _mm512_mask_test_epi8_mask(valid, classes, classes);
    _mm512_storeu_si512(out, _mm512_maskz_compress_epi8(known, classes));
    return out + _mm_popcnt_u64(known);
}

// 64 ids of one byte at once.
class ByByte {
  public:
    explicit ByByte(const ClassTable& table) : class_of_(table.classes) {}

    static constexpr std::int64_t kStep = 64;
    std::uint8_t* operator()(const std::uint8_t* ids, unsigned left, std::uint8_t* out) const {
        const __mmask64 valid = _bzhi_u64(~0ull, left);
        return append_known(valid, class_of_[_mm512_maskz_loadu_epi8(valid, ids)], out);
    }

  private:
    ByteTable class_of_;
};

// A perfect hash of one byte for the ids of a reference with few different ids.
struct Hash {
    static constexpr std::size_t kMost = 31;      // maximum number of ids
    static constexpr std::size_t kSize = 0xFFFF;  // all ids must be below

    std::uint16_t factor = 0x9E37;
    std::uint8_t class_of[256];
    std::uint16_t id_of_class[kMost + 1];

    // False if there are too many ids, an id is too large, or no tried factor gives a perfect hash.
    bool build(const ClassTable& table) {
        constexpr int kTries = 64;
        if (table.count > kMost || table.size > kSize) return false;
        for (int attempt = 0; attempt < kTries; ++attempt, factor += 0x3D4E) {  // stays odd
            if (place(table)) return true;
        }
        return false;
    }

  private:
    bool place(const ClassTable& table) {
        std::fill_n(class_of, 256, std::uint8_t{0});
        std::fill_n(id_of_class, kMost + 1, std::uint16_t{kSize});
        for (std::size_t i = 0; i < table.count; ++i) {
            const auto product = static_cast<std::uint16_t>(table.ids[i] * factor);
            if (class_of[product >> 8] != 0) return false;
            class_of[product >> 8] = static_cast<std::uint8_t>(i + 1);
            id_of_class[i + 1] = static_cast<std::uint16_t>(table.ids[i]);
        }
        return true;
    }
};

// 64 ids at once, in registers. The class of an id's hash is its class if it belongs to the same
// id.
class ByHash {
  public:
    explicit ByHash(const Hash& hash)
        : factor_(_mm512_set1_epi16(static_cast<short>(hash.factor))),
          id_of_class_(_mm512_loadu_si512(hash.id_of_class)),
          class_of_(hash.class_of) {}

    static constexpr std::int64_t kStep = 64;
    template <class Id>
    std::uint8_t* operator()(const Id* ids, unsigned left, std::uint8_t* out) const {
        const __mmask64 valid = _bzhi_u64(~0ull, left);
        const __m512i low = load(ids, static_cast<__mmask32>(valid));
        const __m512i high = load(ids + 32, static_cast<__mmask32>(valid >> 32));
        const __m512i classes =
            class_of_[_mm512_inserti64x4(_mm512_castsi256_si512(hash(low)), hash(high), 1)];
        const __mmask64 same = _mm512_kunpackd(is_of(high, _mm512_extracti64x4_epi64(classes, 1)),
                                               is_of(low, _mm512_castsi512_si256(classes)));
        return append_known(valid & same, classes, out);
    }

  private:
    __m512i factor_, id_of_class_;
    ByteTable class_of_;

    __m256i hash(__m512i ids) const {
        return _mm512_cvtepi16_epi8(_mm512_srli_epi16(_mm512_mullo_epi16(ids, factor_), 8));
    }
    __mmask32 is_of(__m512i ids, __m256i classes) const {
        return _mm512_cmpeq_epi16_mask(
            ids, _mm512_permutexvar_epi16(_mm512_cvtepu8_epi16(classes), id_of_class_));
    }

    // Loads 32 ids; larger ids saturate to the largest value, which no reference contains.
    static __m512i load(const std::uint16_t* ids, __mmask32 valid) {
        return _mm512_maskz_loadu_epi16(valid, ids);
    }
    static __m512i load(const std::uint32_t* ids, __mmask32 valid) {
        const auto half = [=](int i) {
            return _mm512_cvtusepi32_epi16(
                _mm512_maskz_loadu_epi32(static_cast<__mmask16>(valid >> (16 * i)), ids + 16 * i));
        };
        return _mm512_inserti64x4(_mm512_castsi256_si512(half(0)), half(1), 1);
    }
    static __m512i load(const std::uint64_t* ids, __mmask32 valid) {
        const auto quarter = [=](int i) {
            return _mm512_cvtusepi64_epi16(
                _mm512_maskz_loadu_epi64(static_cast<__mmask8>(valid >> (8 * i)), ids + 8 * i));
        };
        const __m512i low = _mm512_inserti32x4(_mm512_castsi128_si512(quarter(0)), quarter(1), 1);
        return _mm512_inserti32x4(_mm512_inserti32x4(low, quarter(2), 2), quarter(3), 3);
    }
};

// 16 ids at once, with a gather instruction. The table has kSlack entries more than its size.
class ByGather {
  public:
    explicit ByGather(const ClassTable& table)
        : classes_(table.classes), size_(_mm512_set1_epi32(static_cast<int>(table.size))) {}

    static constexpr std::int64_t kStep = 16;
    template <class Id>
    std::uint8_t* operator()(const Id* ids, unsigned left, std::uint8_t* out) const {
        const auto valid = static_cast<__mmask16>(_bzhi_u32(0xFFFF, left));
        const __mmask16 inside = _mm512_mask_cmplt_epu32_mask(valid, load(ids, valid), size_);
        const __m512i found = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), inside,
                                                          load(ids, valid), classes_, 1);
        const __m128i bytes = _mm512_cvtepi32_epi8(found);
        const __mmask16 known = _mm_test_epi8_mask(bytes, bytes);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_maskz_compress_epi8(known, bytes));
        return out + _mm_popcnt_u32(known);
    }

  private:
    const std::uint8_t* classes_;
    __m512i size_;

    static __m512i load(const std::uint16_t* ids, __mmask16 valid) {
        return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(valid, ids));
    }
    static __m512i load(const std::uint32_t* ids, __mmask16 valid) {
        return _mm512_maskz_loadu_epi32(valid, ids);
    }
};

// Ids are read only once, so the speed is limited by memory bandwidth if they are prefetched.
template <std::size_t kBytes>
void prefetch(const void* ids) {
    constexpr std::size_t kAhead = 2048, kLine = 64;
    const char* begin = static_cast<const char*>(ids) + kAhead;
    for (std::size_t i = 0; i < kBytes; i += kLine) _mm_prefetch(begin + i, _MM_HINT_T0);
}

template <class Step, class Id>
void classify_by(const Step& step, const Id* ids, const IdCandidates& candidates,
                 const Lcs::ShortBuffer& buffer) {
    buffer.fill(candidates.count, [&](std::size_t i, std::uint8_t* out) {
        const std::int64_t end = candidates.offsets[i + 1];
        for (std::int64_t j = candidates.offsets[i]; j < end; j += Step::kStep) {
            prefetch<Step::kStep * sizeof(Id)>(ids + j);
            out = step(ids + j, static_cast<unsigned>(std::min(Step::kStep, end - j)), out);
        }
        return out;
    });
}

}  // namespace

void classify_avx512(const IdCandidates& candidates, const ClassTable& table,
                     const Lcs::ShortBuffer& buffer) {
    with_id_type(candidates.ids, candidates.width, [&](const auto* ids) {
        Hash hash;
        if constexpr (sizeof(*ids) == 1) {
            classify_by(ByByte(table), ids, candidates, buffer);
        } else if (candidates.count >= kWorthHashing && hash.build(table)) {
            classify_by(ByHash(hash), ids, candidates, buffer);
        } else if constexpr (sizeof(*ids) == 8) {
            classify_scalar(candidates, table, buffer);
        } else {
            classify_by(ByGather(table), ids, candidates, buffer);
        }
    });
}

}  // namespace leakrepro

LEAKREPRO_TARGET_END
#endif
