// A cache of vocabularies, so that later calls do not stem the same words again.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "text/vocabulary.h"

namespace leakrepro {

// The state that a thread needs to map words to classes of a reference.
struct Words {
    explicit Words(bool stem) : vocabulary(stem) {}

    Vocabulary vocabulary;
    std::vector<std::uint32_t> class_of;  // by number; all zero between groups

    // Ensures that class_of has an entry for each number.
    void resize_classes() {
        if (class_of.size() < vocabulary.size()) class_of.resize(2 * vocabulary.size());
    }
};

// Samples at temperature 1 contain ever more new words, so larger vocabularies are dropped.
constexpr std::uint32_t kMostWords = 1 << 16;

// Returns a cached vocabulary or a new one. Never waits for a lock.
std::unique_ptr<Words> take_words(bool stem);

// Puts a vocabulary into the cache, unless the cache is full or the vocabulary is too large.
void give_words(std::unique_ptr<Words> words, bool stem);

// Clears the cache; the next call starts with a new vocabulary.
void forget_words();

}  // namespace leakrepro
