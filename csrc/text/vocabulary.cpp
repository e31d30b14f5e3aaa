#include "text/vocabulary.h"

#include <cstring>
#include <stdexcept>

#include "text/porter.h"

namespace leakrepro {
namespace {

constexpr int kFirstBits = 10;

}  // namespace

WordTable::WordTable() : entries_(std::size_t{1} << kFirstBits), shift_(64 - kFirstBits) {}

// The entry of a word, or the empty entry where it would be inserted.
WordTable::Entry* WordTable::slot(const WordKey& key) {
    const std::size_t mask = entries_.size() - 1;
    std::size_t i = key.hash() >> shift_;
    while (!entries_[i].key.is_empty() && !(entries_[i].key == key)) i = (i + 1) & mask;
    return &entries_[i];
}

void WordTable::grow() {
    std::vector<Entry> old(2 * entries_.size());
    old.swap(entries_);
    --shift_;
    for (const Entry& entry : old) {
        if (!entry.key.is_empty()) *slot(entry.key) = entry;
    }
}

std::uint32_t& WordTable::operator[](const char* word) {
    const WordKey key(word);
    if (key.is_empty()) return long_words_.try_emplace(word, kNew).first->second;
    Entry* entry = slot(key);
    if (entry->key.is_empty()) {
        if (4 * (used_ + 1) > entries_.size()) {
            grow();
            entry = slot(key);
        }
        entry->key = key;
        ++used_;
    }
    return entry->number;
}

void find_words_scalar(const WordTable& table, const Tokens& tokens, std::uint32_t* numbers) {
    tokens.for_each([&](const char* token) {
        const WordKey key(token);
        const WordTable::Entry& entry = table.entries()[key.hash() >> table.shift()];
        // The key of a longer word is empty: it equals only an empty entry, whose number is kNew.
        *numbers++ = entry.key == key ? entry.number : WordTable::kNew;
    });
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

std::uint32_t Vocabulary::find_or_add(const char* token) {
    std::uint32_t& slot = tokens_[token];
    if (slot != WordTable::kNew) return slot;
    if (!stem_) return number(slot, token);
    const std::size_t length = std::strlen(token);
    buffer_.assign(token, token + length);
    buffer_.resize(length + WordKey::kBytes);
    buffer_[stem_token(buffer_.data(), length)] = 0;
    return slot = number(stems_[buffer_.data()], buffer_.data());
}

const std::vector<std::uint32_t>& Vocabulary::operator()(const Tokens& tokens, FindWords find) {
    numbers_.resize(tokens.wanted_size() + Tokens::kSlack);
    find(tokens_, tokens, numbers_.data());
    numbers_.resize(tokens.wanted_size());
    for (std::size_t i = 0; i < numbers_.size(); ++i) {
        if (numbers_[i] == WordTable::kNew) numbers_[i] = find_or_add(tokens.start(i));
    }
    return numbers_;
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
