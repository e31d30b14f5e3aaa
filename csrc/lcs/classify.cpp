#include "lcs/classify.h"

#include "target.h"

namespace leakrepro {

std::uint8_t* classify_scalar(const void* ids, int width, std::size_t count,
                              const ClassTable& table, std::uint8_t* out) {
    return with_id_type(ids, width, [&](const auto* typed) {
        return classify(typed, count, table.classes, table.size, out);
    });
}

}  // namespace leakrepro

#ifdef __x86_64__
LEAKREPRO_AVX512

namespace leakrepro {
namespace {

// Entries of the table as bytes of four registers, so that 64 ids are looked up at once.
std::uint8_t* classify_bytes(const std::uint8_t* ids, std::size_t count,
                             const std::uint8_t* classes, std::uint8_t* out) {
    const __m512i low0 = _mm512_loadu_si512(classes), low1 = _mm512_loadu_si512(classes + 64);
    const __m512i high0 = _mm512_loadu_si512(classes + 128);
    const __m512i high1 = _mm512_loadu_si512(classes + 192);
    for (std::size_t i = 0; i < count; i += 64) {
        const std::size_t left = count - i;
        const __mmask64 valid = left >= 64 ? ~0ull : _bzhi_u64(~0ull, static_cast<unsigned>(left));
        const __m512i id = _mm512_maskz_loadu_epi8(valid, ids + i);
        const __m512i found = _mm512_mask_blend_epi8(
            _mm512_movepi8_mask(id), _mm512_permutex2var_epi8(low0, id, low1),
            _mm512_permutex2var_epi8(high0, id, high1));
        const __mmask64 known = _mm512_mask_test_epi8_mask(valid, found, found);
        _mm512_storeu_si512(out, _mm512_maskz_compress_epi8(known, found));
        out += _mm_popcnt_u64(known);
    }
    return out;
}

// 16 ids at once, by a gather. The table has kSlack entries more than its size.
template <class Id>
std::uint8_t* classify_gather(const Id* ids, std::size_t count, const ClassTable& table,
                              std::uint8_t* out) {
    const __m512i size = _mm512_set1_epi32(static_cast<int>(table.size));
    for (std::size_t i = 0; i < count; i += 16) {
        const std::size_t left = count - i;
        const auto valid =
            static_cast<__mmask16>(left >= 16 ? 0xFFFF : _bzhi_u32(0xFFFF, static_cast<unsigned>(left)));
        __m512i id;
        if constexpr (sizeof(Id) == 2) {
            id = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(valid, ids + i));
        } else {
            id = _mm512_maskz_loadu_epi32(valid, ids + i);
        }
        const __mmask16 inside = _mm512_mask_cmplt_epu32_mask(valid, id, size);
        const __m512i found =
            _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), inside, id, table.classes, 1);
        const __m128i bytes = _mm512_cvtepi32_epi8(found);
        const __mmask16 known = _mm_test_epi8_mask(bytes, bytes);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_maskz_compress_epi8(known, bytes));
        out += _mm_popcnt_u32(known);
    }
    return out;
}

}  // namespace

std::uint8_t* classify_avx512(const void* ids, int width, std::size_t count,
                              const ClassTable& table, std::uint8_t* out) {
    switch (width) {
        case 1:
            return classify_bytes(static_cast<const std::uint8_t*>(ids), count, table.classes, out);
        case 2:
            return classify_gather(static_cast<const std::uint16_t*>(ids), count, table, out);
        case 4:
            return classify_gather(static_cast<const std::uint32_t*>(ids), count, table, out);
        default:
            return classify_scalar(ids, width, count, table, out);
    }
}

}  // namespace leakrepro

LEAKREPRO_TARGET_END
#endif
