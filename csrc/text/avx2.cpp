#include "text/text.h"

#include "target.h"

#ifdef __x86_64__
LEAKREPRO_AVX2

namespace leakrepro {
namespace {

constexpr std::size_t kBlock = 32;  // characters per block; each has one bit of a mask

// Loads 32 code points as bytes. Code points beyond Latin-1 become bytes that separate tokens.
// `dotted` is set if U+0130 occurs.
__m256i load(const std::uint8_t* text, bool&) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(text));
}

__m256i load(const std::uint16_t* text, bool& dotted) {
    const auto half = [&](const std::uint16_t* from) {
        const __m256i c = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
        dotted |= _mm256_movemask_epi8(
                      _mm256_cmpeq_epi16(c, _mm256_set1_epi16(kCapitalIWithDot))) != 0;
        const __m256i kelvin = _mm256_cmpeq_epi16(c, _mm256_set1_epi16(kKelvinSign));
        return _mm256_blendv_epi8(c, _mm256_set1_epi16('k'), kelvin);
    };
    // Signed saturation: 256 to 0x7FFF become 255, all above 0.
    const __m256i packed = _mm256_packus_epi16(half(text), half(text + 16));
    return _mm256_permute4x64_epi64(packed, 0b11'01'10'00);
}

__m256i load(const std::uint32_t* text, bool& dotted) {
    const auto quarter = [&](const std::uint32_t* from) {
        const __m256i c = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
        dotted |= _mm256_movemask_epi8(
                      _mm256_cmpeq_epi32(c, _mm256_set1_epi32(kCapitalIWithDot))) != 0;
        const __m256i kelvin = _mm256_cmpeq_epi32(c, _mm256_set1_epi32(kKelvinSign));
        // Values up to 255 are unchanged by both packing steps.
        return _mm256_min_epu32(_mm256_blendv_epi8(c, _mm256_set1_epi32('k'), kelvin),
                                _mm256_set1_epi32(0xFF));
    };
    const __m256i low = _mm256_packus_epi32(quarter(text), quarter(text + 8));
    const __m256i high = _mm256_packus_epi32(quarter(text + 16), quarter(text + 24));
    const __m256i packed = _mm256_packus_epi16(low, high);
    return _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

// A mask of the bytes with low <= byte < low + count (unsigned).
__m256i in_range(__m256i bytes, char low, char count) {
    const __m256i above = _mm256_sub_epi8(bytes, _mm256_set1_epi8(low));
    return _mm256_cmpeq_epi8(_mm256_min_epu8(above, _mm256_set1_epi8(static_cast<char>(count - 1))),
                             above);
}

// Converts letters to lower case, keeps digits, and sets all other bytes to 0.
__m256i lower(__m256i characters) {
    // Bit 0x20 converts letters to lower case and is already set in digits.
    const __m256i small = _mm256_or_si256(characters, _mm256_set1_epi8(0x20));
    const __m256i letters = in_range(small, 'a', 26);
    const __m256i digits = in_range(characters, '0', 10);
    return _mm256_and_si256(small, _mm256_or_si256(letters, digits));
}

// Returns false if the text contains U+0130, whose lower case has two characters.
template <class Char>
bool tokenise(const Char* text, std::size_t length, Tokens& tokens) {
    tokens.prepare(length);
    char* const bytes = tokens.bytes();
    std::uint32_t* start = tokens.starts();
    std::uint32_t inside = 0;  // 1 when the character before the block belongs to a token
    bool dotted = false;
    const auto block = [&](const Char* from, std::size_t i) {
        const __m256i letters = lower(load(from, dotted));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes + i), letters);
        const auto others = static_cast<std::uint32_t>(
            _mm256_movemask_epi8(_mm256_cmpeq_epi8(letters, _mm256_setzero_si256())));
        std::uint32_t starts = ~others & ~(~others << 1 | inside);
        inside = ~others >> (kBlock - 1);
        const int count = _mm_popcnt_u32(starts);
        // A block has about six tokens: a fixed number of steps avoids branch mispredictions.
        for (int done = 0; done < count; done += 8) {
            for (int step = 0; step < 8; ++step) {
                start[done + step] = static_cast<std::uint32_t>(i) + _tzcnt_u32(starts);
                starts = _blsr_u32(starts);
            }
        }
        start += count;
    };
    std::size_t i = 0;
    for (; i + kBlock <= length; i += kBlock) block(text + i, i);
    if (i < length) {
        Char rest[kBlock] = {};
        for (std::size_t j = 0; i + j < length; ++j) rest[j] = text[i + j];
        block(rest, i);
    }
    bytes[length] = 0;
    tokens.finish_all(static_cast<std::size_t>(start - tokens.starts()));
    return !dotted;
}

}  // namespace

void tokenise_avx2(const Text& text, Tokens& tokens) {
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

}  // namespace leakrepro

LEAKREPRO_TARGET_END
#endif
