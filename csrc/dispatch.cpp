#include "dispatch.h"

#include <stdexcept>

namespace leakrepro {

const std::vector<Implementation>& implementations() {
    static const std::vector<Implementation> available = [] {
        std::vector<Implementation> found;
#ifdef __x86_64__
        if (__builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vbmi") &&
            __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
            __builtin_cpu_supports("bmi2")) {
            found.push_back({"avx512", tokenise_avx512, find_words_avx512,
                             {lcs_short_avx512, lcs_band_avx512, kBandAvx512}, classify_avx512});
        }
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) {
            found.push_back({"avx2", tokenise_avx2, find_words_scalar, {lcs_short_avx2, lcs_band_avx2, kBandAvx2},
                             classify_scalar});
        }
#endif
        found.push_back({"scalar", tokenise_scalar, find_words_scalar,
                         {lcs_short_scalar, lcs_band_scalar, kBandScalar}, classify_scalar});
        return found;
    }();
    return available;
}

const Implementation& implementation(const std::string& name) {
    for (const Implementation& candidate : implementations()) {
        if (candidate.name == name) return candidate;
    }
    throw std::invalid_argument("no native implementation is called " + name);
}

}  // namespace leakrepro
