// The implementations of the kernel that this machine can run.
#pragma once

#include <string>
#include <vector>

#include "lcs/classify.h"
#include "lcs/lcs.h"
#include "text/text.h"
#include "text/vocabulary.h"

namespace leakrepro {

// The functions that differ between instruction sets.
struct Implementation {
    std::string name;
    Tokenise tokenise;
    FindWords find_words;
    Lcs::Functions lcs;
    Classify classify;
};

// All implementations that this build and processor support, fastest first. Never empty.
const std::vector<Implementation>& implementations();

// Returns an implementation by name. Throws std::invalid_argument if implementations() does not
// have it.
const Implementation& implementation(const std::string& name);

}  // namespace leakrepro
