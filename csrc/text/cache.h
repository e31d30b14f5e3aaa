// Vocabularies that outlive a call, so that the next one finds its words stemmed.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "text/vocabulary.h"

namespace leakrepro {

// What a thread needs to turn words into classes of a reference.
struct Words {
    explicit Words(bool stem) : vocabulary(stem) {}

    Vocabulary vocabulary;
    std::vector<std::uint32_t> class_of;  // by number; all zero between groups

    // Gives all numbers an entry in class_of.
    void make_room() {
        if (class_of.size() < vocabulary.size()) class_of.resize(2 * vocabulary.size());
    }
};

// Sampling at temperature 1 makes up words without end; a larger vocabulary is forgotten.
constexpr std::uint32_t kMostWords = 1 << 16;

// A kept vocabulary, or a new one. Never waits.
std::unique_ptr<Words> take_words(bool stem);

// Keeps it for the next one who asks, unless there are enough or it is too large.
void give_words(std::unique_ptr<Words> words, bool stem);

// Drops all that are kept: the next call starts as the first one of a process.
void forget_words();

}  // namespace leakrepro
