#include "text/vocabulary.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "text/porter.h"
#include "text/text.h"

namespace leakrepro {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first letter is the lowest byte");
static_assert(Tokens::kKeyBytes == 16, "a key is two words of eight bytes");

constexpr std::size_t kFirstCapacity = 1024;
constexpr std::uint64_t kLowBits = 0x0101010101010101;
constexpr std::uint64_t kHighBits = 0x8080808080808080;

std::uint64_t load(const char* bytes) {
    std::uint64_t word;
    std::memcpy(&word, bytes, sizeof word);
    return word;
}

// The high bit of every NUL; bits above the lowest one set mean nothing. Letters and digits have
// no high bit of their own.
std::uint64_t find_nul(std::uint64_t word) { return (word - kLowBits) & kHighBits; }

// What stands before the lowest NUL.
std::uint64_t cut(std::uint64_t word, std::uint64_t nul) { return word & ((nul & -nul) - 1) >> 7; }

std::size_t hash(std::uint64_t low, std::uint64_t high) {
    const auto product = static_cast<unsigned __int128>(low ^ 0x9E3779B97F4A7C15) *
                         (high ^ 0xD6E8FEB86659FD93);
    return static_cast<std::size_t>(product) ^ static_cast<std::size_t>(product >> 64);
}

}  // namespace

WordTable::WordTable() : entries_(kFirstCapacity, Entry{0, 0, kNew}) {}

inline WordTable::Entry* WordTable::find(std::uint64_t low, std::uint64_t high) {
    const std::size_t mask = entries_.size() - 1;
    std::size_t i = hash(low, high) & mask;
    while ((entries_[i].low != low || entries_[i].high != high) && entries_[i].low != 0) {
        i = (i + 1) & mask;
    }
    return &entries_[i];
}

void WordTable::grow() {
    std::vector<Entry> old(2 * entries_.size(), Entry{0, 0, kNew});
    old.swap(entries_);
    for (const Entry& entry : old) {
        if (entry.low != 0) *find(entry.low, entry.high) = entry;
    }
}

std::uint32_t& WordTable::add(Entry* entry, std::uint64_t low, std::uint64_t high) {
    if (2 * (used_ + 1) > entries_.size()) {
        grow();
        entry = find(low, high);
    }
    *entry = Entry{low, high, kNew};
    ++used_;
    return entry->number;
}

std::uint32_t& WordTable::operator[](const char* word) {
    std::uint64_t low = load(word);
    std::uint64_t high = load(word + 8);
    if (const std::uint64_t nul = find_nul(low)) {
        low = cut(low, nul);
        high = 0;
    } else if (const std::uint64_t later = find_nul(high)) {
        high = cut(high, later);
    } else if (word[Tokens::kKeyBytes] != 0) {
        return long_words_.try_emplace(std::string(word), kNew).first->second;
    }
    Entry* entry = find(low, high);
    return entry->low != 0 ? entry->number : add(entry, low, high);
}

std::size_t stem_token(char* token, std::size_t length) {
    return length > 3 ? porter_stem(token, length) : length;
}

std::uint32_t Vocabulary::number(std::uint32_t& slot, const char* word) {
    if (slot == WordTable::kNew) {
        if (size() == WordTable::kNew - 1) throw std::length_error("more than 32 bits of words");
        slot = size();
        initials_.push_back({word[0], word[1]});
    }
    return slot;
}

std::uint32_t Vocabulary::add(const char* token) {
    std::uint32_t& slot = tokens_[token];
    if (!stem_) return number(slot, token);
    const std::size_t length = std::strlen(token);
    buffer_.assign(token, token + length);
    buffer_.resize(length + Tokens::kKeyBytes + 1);
    const std::size_t stem = stem_token(buffer_.data(), length);
    buffer_[stem] = 0;
    return slot = number(stems_[buffer_.data()], buffer_.data());
}

void Vocabulary::add_beginnings(std::uint32_t number, Beginnings& beginnings) const {
    const Initials stem = initials_[number];
    beginnings.add(stem.first, stem.second);
    if (!stem_) return;
    // Porter's rules keep the first two letters, with these exceptions.
    if (stem.second == 'i') beginnings.add(stem.first, 'y');  // dying -> die
    if (stem.second == 0) {
        beginnings.add(stem.first, 'e');  // aeds -> a
        beginnings.add(stem.first, 'i');  // aing -> a
    }
}

}  // namespace leakrepro
