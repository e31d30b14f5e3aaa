#include "text/vocabulary.h"

#include <cstring>
#include <stdexcept>

#include "text/porter.h"
#include "text/text.h"

namespace leakrepro {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are cut by little-endian masks");
static_assert(Tokens::kKeyBytes == 16, "a key is two words of eight bytes");

constexpr std::size_t kFirstCapacity = 1024;

std::uint64_t load(const char* bytes, std::size_t length) {
    std::uint64_t word;
    std::memcpy(&word, bytes, sizeof word);
    return length >= 8 ? word : word & ((std::uint64_t{1} << (8 * length)) - 1);
}

std::size_t hash(std::uint64_t low, std::uint64_t high) {
    const auto product = static_cast<unsigned __int128>(low ^ 0x9E3779B97F4A7C15) *
                         (high ^ 0xD6E8FEB86659FD93);
    return static_cast<std::size_t>(product) ^ static_cast<std::size_t>(product >> 64);
}

}  // namespace

WordTable::WordTable() : entries_(kFirstCapacity, Entry{0, 0, kNew}) {}

WordTable::Entry& WordTable::find(std::uint64_t low, std::uint64_t high) {
    const std::size_t mask = entries_.size() - 1;
    std::size_t i = hash(low, high) & mask;
    while (entries_[i].low != 0 && (entries_[i].low != low || entries_[i].high != high)) {
        i = (i + 1) & mask;
    }
    return entries_[i];
}

void WordTable::grow() {
    std::vector<Entry> old(2 * entries_.size(), Entry{0, 0, kNew});
    old.swap(entries_);
    for (const Entry& entry : old) {
        if (entry.low != 0) find(entry.low, entry.high) = entry;
    }
}

std::uint32_t& WordTable::operator()(const char* word, std::size_t length) {
    if (length > Tokens::kKeyBytes) {
        return long_words_.try_emplace(std::string(word, length), kNew).first->second;
    }
    const std::uint64_t low = load(word, length);
    const std::uint64_t high = length > 8 ? load(word + 8, length - 8) : 0;
    Entry* entry = &find(low, high);
    if (entry->low == 0) {
        if (2 * (used_ + 1) > entries_.size()) {
            grow();
            entry = &find(low, high);
        }
        *entry = Entry{low, high, kNew};
        ++used_;
    }
    return entry->number;
}

std::size_t stem_token(char* token, std::size_t length) {
    return length > 3 ? porter_stem(token, length) : length;
}

std::uint32_t Vocabulary::number(std::uint32_t& slot) {
    if (slot == WordTable::kNew) {
        if (size_ == WordTable::kNew) throw std::length_error("more than 4,294,967,295 words");
        slot = size_++;
    }
    return slot;
}

std::uint32_t Vocabulary::operator()(const char* token, std::size_t length) {
    std::uint32_t& slot = tokens_(token, length);
    if (slot == WordTable::kNew) {
        if (stem_) {
            buffer_.assign(token, token + length);
            buffer_.resize(length + Tokens::kKeyBytes);
            slot = number(stems_(buffer_.data(), stem_token(buffer_.data(), length)));
        } else {
            number(slot);
        }
    }
    return slot;
}

}  // namespace leakrepro
