#include "text/text.h"

#include "target.h"
#include "text/vocabulary.h"

#ifdef __x86_64__
LEAKREPRO_AVX512

namespace leakrepro {
namespace {

constexpr std::size_t kBlock = 64;  // characters per block; each has one bit of a mask

// Loads up to 64 code points as bytes. Code points beyond Latin-1 become 255, which separates
// tokens. `dotted` is set if U+0130 occurs.
__m512i load(const std::uint8_t* text, __mmask64 valid, bool&) {
    return _mm512_maskz_loadu_epi8(valid, text);
}

__m256i narrow(__m512i characters, bool& dotted) {
    dotted |= _mm512_cmpeq_epi16_mask(characters, _mm512_set1_epi16(kCapitalIWithDot)) != 0;
    const __mmask32 kelvin =
        _mm512_cmpeq_epi16_mask(characters, _mm512_set1_epi16(kKelvinSign));
    return _mm512_cvtusepi16_epi8(_mm512_mask_set1_epi16(characters, kelvin, 'k'));
}

__m512i load(const std::uint16_t* text, __mmask64 valid, bool& dotted) {
    const __m512i low = _mm512_maskz_loadu_epi16(static_cast<__mmask32>(valid), text);
    const __m512i high = _mm512_maskz_loadu_epi16(static_cast<__mmask32>(valid >> 32), text + 32);
    return _mm512_inserti64x4(_mm512_castsi256_si512(narrow(low, dotted)), narrow(high, dotted), 1);
}

__m128i narrow4(__m512i characters, bool& dotted) {
    dotted |= _mm512_cmpeq_epi32_mask(characters, _mm512_set1_epi32(kCapitalIWithDot)) != 0;
    const __mmask16 kelvin =
        _mm512_cmpeq_epi32_mask(characters, _mm512_set1_epi32(kKelvinSign));
    return _mm512_cvtusepi32_epi8(_mm512_mask_set1_epi32(characters, kelvin, 'k'));
}

__m512i load(const std::uint32_t* text, __mmask64 valid, bool& dotted) {
    const auto quarter = [&](int i) {
        const auto mask = static_cast<__mmask16>(valid >> (16 * i));
        return narrow4(_mm512_maskz_loadu_epi32(mask, text + 16 * i), dotted);
    };
    __m512i all = _mm512_castsi128_si512(quarter(0));
    all = _mm512_inserti32x4(all, quarter(1), 1);
    all = _mm512_inserti32x4(all, quarter(2), 2);
    return _mm512_inserti32x4(all, quarter(3), 3);
}

alignas(64) constexpr char kLower[2 * kBlock + 1] =
    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    "0123456789\0\0\0\0\0\0"
    "\0abcdefghijklmnopqrstuvwxyz\0\0\0\0\0"
    "\0abcdefghijklmnopqrstuvwxyz\0\0\0\0\0";

alignas(64) constexpr std::uint8_t kIota[kBlock] = {
    0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
    22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
    44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};

// A mask of the bytes of `lower` at which a beginning in the set starts. `second` has the bytes
// that follow those of `lower`.
__mmask64 admitted(const Beginnings& wanted, __m512i lower, __m512i second) {
    const __m512i byte = _mm512_ternarylogic_epi32(
        _mm512_set1_epi8(0x7C), _mm512_slli_epi16(second, 2), lower, 0xCA);  // a ? b : c
    const __m512i bits = _mm512_permutex2var_epi8(
        _mm512_load_si512(wanted.bits()), byte, _mm512_load_si512(wanted.bits() + kBlock));
    const __m512i which =
        _mm512_and_si512(_mm512_srli_epi16(lower, 2), _mm512_set1_epi8(7));
    return _mm512_test_epi8_mask(
        bits, _mm512_shuffle_epi8(_mm512_set1_epi64(static_cast<long long>(0x8040201008040201)), which));
}

// Writes base + i for every set bit i of the mask, and up to 15 more numbers.
std::uint32_t* put_positions(std::uint32_t* out, std::uint64_t mask, std::uint32_t base,
                             __m512i iota) {
    const __m512i places = _mm512_maskz_compress_epi8(mask, iota);
    const __m512i bases = _mm512_set1_epi32(static_cast<int>(base));
    const int count = __builtin_popcountll(mask);
    // A token and its separator need at least two characters, so 64 characters have at most 32
    // tokens.
    _mm512_storeu_si512(
        out, _mm512_add_epi32(bases, _mm512_cvtepu8_epi32(_mm512_castsi512_si128(places))));
    if (__builtin_expect(count > 16, 0)) {
        _mm512_storeu_si512(
            out + 16,
            _mm512_add_epi32(bases, _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(places, 1))));
    }
    return out + count;
}

// Returns false if the text contains U+0130, whose lower case has two characters.
template <class Char>
bool tokenise(const Char* text, std::size_t length, Tokens& tokens) {
    tokens.prepare(length);
    const __m512i lower_low = _mm512_load_si512(kLower);
    const __m512i lower_high = _mm512_load_si512(kLower + kBlock);
    const __m512i iota = _mm512_load_si512(kIota);
    const __m512i next_byte = _mm512_add_epi8(iota, _mm512_set1_epi8(1));
    char* const bytes = tokens.bytes();
    std::uint32_t* start = tokens.starts();
    std::size_t size = 0;
    bool dotted = false;

    const auto lower_block = [&](std::size_t i) {
        if (i >= length) return _mm512_setzero_si512();
        const std::size_t left = length - i;
        const __mmask64 valid = left >= kBlock ? ~0ull : _bzhi_u64(~0ull, static_cast<unsigned>(left));
        const __m512i characters = load(text + i, valid, dotted);
        return _mm512_maskz_permutex2var_epi8(~_mm512_movepi8_mask(characters), lower_low,
                                              characters, lower_high);
    };
    std::uint64_t inside = 0;  // 1 when the character before the block belongs to a token
    __m512i lower = lower_block(0);
    for (std::size_t i = 0; i < length; i += kBlock) {
        const __m512i next = lower_block(i + kBlock);
        _mm512_storeu_si512(bytes + i, lower);
        const std::uint64_t letters = _mm512_test_epi8_mask(lower, lower);
        const std::uint64_t starts = letters & ~(letters << 1 | inside);
        inside = letters >> (kBlock - 1);
        size += static_cast<std::size_t>(_mm_popcnt_u64(starts));
        const __m512i second = _mm512_permutex2var_epi8(lower, next_byte, next);
        start = put_positions(start, starts & admitted(tokens.wanted, lower, second),
                              static_cast<std::uint32_t>(i), iota);
        lower = next;
    }
    bytes[length] = 0;
    tokens.finish(size, static_cast<std::size_t>(start - tokens.starts()));
    return !dotted;
}

}  // namespace

void tokenise_avx512(const Text& text, Tokens& tokens) {
    if (text.width == 1) {
        tokenise(static_cast<const std::uint8_t*>(text.data), text.length, tokens);
    } else if (text.width == 2) {
        if (!tokenise(static_cast<const std::uint16_t*>(text.data), text.length, tokens)) {
            tokenise_scalar(text, tokens);
        }
    } else if (!tokenise(static_cast<const std::uint32_t*>(text.data), text.length, tokens)) {
        tokenise_scalar(text, tokens);
    }
}

void find_words_avx512(const WordTable& table, const Tokens& tokens, std::uint32_t* numbers) {
    const auto set = [&](std::uint64_t value) {
        return _mm512_set1_epi64(static_cast<long long>(value));
    };
    const __m512i zero = _mm512_setzero_si512();
    // Sets the high bit of each NUL byte. Only the lowest set bit is reliable.
    const auto find_nul = [&](__m512i bytes) {
        return _mm512_and_si512(_mm512_sub_epi64(bytes, set(0x0101010101010101)),
                                set(0x8080808080808080));
    };
    // The bytes before the lowest NUL, or all bytes if there is none.
    const auto cut = [&](__m512i bytes, __m512i nul, __mmask8 has_nul) {
        const __m512i below = _mm512_andnot_si512(nul, _mm512_sub_epi64(nul, set(1)));
        return _mm512_mask_and_epi64(bytes, has_nul, bytes, _mm512_srli_epi64(below, 7));
    };
    const char* const bytes = tokens.bytes();
    const WordTable::Entry* const entries = table.entries();
    const __m128i shift = _mm_cvtsi32_si128(table.shift());
    for (std::size_t i = 0; i < tokens.wanted_size(); i += 8) {
        const std::size_t left = tokens.wanted_size() - i;
        const auto valid = static_cast<__mmask8>(left >= 8 ? 0xFF : (1u << left) - 1);
        const __m256i start = _mm256_maskz_loadu_epi32(valid, tokens.starts() + i);
        const __m512i place = _mm512_cvtepu32_epi64(start);
        __m512i low = _mm512_mask_i64gather_epi64(zero, valid, place, bytes, 1);
        __m512i high = _mm512_mask_i64gather_epi64(zero, valid, place, bytes + 8, 1);
        const __m512i low_nul = find_nul(low), high_nul = find_nul(high);
        const __mmask8 low_ends = _mm512_test_epi64_mask(low_nul, low_nul);
        const __mmask8 high_ends = _mm512_test_epi64_mask(high_nul, high_nul);
        low = cut(low, low_nul, low_ends);
        high = _mm512_mask_mov_epi64(cut(high, high_nul, high_ends), low_ends, zero);
        const __m512i hash =
            _mm512_add_epi64(_mm512_mullo_epi64(low, set(WordKey::kLowFactor)),
                             _mm512_mullo_epi64(high, set(WordKey::kHighFactor)));
        // An entry has four times eight bytes.
        const __m512i index = _mm512_slli_epi64(_mm512_srl_epi64(hash, shift), 2);
        const __m512i low_there = _mm512_i64gather_epi64(index, entries, 8);
        const __m512i high_there =
            _mm512_i64gather_epi64(index, reinterpret_cast<const char*>(entries) + 8, 8);
        const __m256i number = _mm512_i64gather_epi32(
            index, reinterpret_cast<const char*>(entries) + offsetof(WordTable::Entry, number), 8);
        // Words of 16 or more letters do not have a NUL in either half and are not looked up here.
        __mmask8 found = low_ends | high_ends;
        found = _mm512_mask_cmpeq_epi64_mask(found, low, low_there);
        found = _mm512_mask_cmpeq_epi64_mask(found, high, high_there);
        _mm256_storeu_si256(
            reinterpret_cast<__m256i*>(numbers + i),
            _mm256_mask_mov_epi32(_mm256_set1_epi32(static_cast<int>(WordTable::kNew)), found,
                                  number));
    }
}

}  // namespace leakrepro

LEAKREPRO_TARGET_END
#endif
