// Which implementations of the kernel there are, and which of them can run here.
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

// All that this build and this processor can run, fastest first. Never empty.
const std::vector<Implementation>& implementations();

// Looks one up by name. Throws std::invalid_argument where it is not among implementations().
const Implementation& implementation(const std::string& name);

}  // namespace leakrepro
