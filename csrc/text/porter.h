// The Porter stemmer, in the mode NLTK_EXTENSIONS of nltk.stem.porter.PorterStemmer.
#pragma once

#include <cstddef>

namespace leakrepro {

// Stems a word of [a-z0-9] in place and returns the length of the stem, which is at least 1 and at
// most `length`. Words of one or two letters stay as they are.
//
// M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980, with nltk's default
// changes. Digits count as consonants.
std::size_t porter_stem(char* word, std::size_t length);

}  // namespace leakrepro
