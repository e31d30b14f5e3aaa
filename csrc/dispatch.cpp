#include "dispatch.h"

#include <stdexcept>

namespace leakrepro {

const std::vector<Implementation>& implementations() {
    static const std::vector<Implementation> available = {
        {"scalar", tokenise_scalar, lcs_short_scalar, lcs_band_scalar},
    };
    return available;
}

const Implementation& implementation(const std::string& name) {
    for (const Implementation& candidate : implementations()) {
        if (candidate.name == name) return candidate;
    }
    throw std::invalid_argument("no native implementation is called " + name);
}

}  // namespace leakrepro
