// Names follow the paper: a stem is [C](VC)^m[V] and m its measure; the paper's *v* is
// contains_vowel, *d ends_double_consonant and *o ends_cvc.

#include "text/porter.h"

#include <cstring>
#include <string_view>

namespace leakrepro {
namespace {

using std::string_view;

bool is_vowel_letter(char c) {
    return c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u';
}

// A y is a vowel after a consonant; in a run of y's they alternate.
bool is_consonant(string_view word, std::size_t i) {
    bool flip = false;
    for (; word[i] == 'y' && i > 0; --i) flip = !flip;
    return !is_vowel_letter(word[i]) != flip;
}

// Calls visit(consonant?) for each letter, in one pass.
template <class Visitor>
void for_each_kind(string_view word, Visitor&& visit) {
    bool consonant = false;
    for (char c : word) {
        consonant = c == 'y' ? !consonant : !is_vowel_letter(c);
        visit(consonant);
    }
}

std::size_t measure(string_view stem) {
    std::size_t m = 0;
    bool after_vowel = false;
    for_each_kind(stem, [&](bool consonant) {
        m += consonant && after_vowel;
        after_vowel = !consonant;
    });
    return m;
}

bool contains_vowel(string_view stem) {
    bool found = false;
    for_each_kind(stem, [&](bool consonant) { found |= !consonant; });
    return found;
}

bool ends_double_consonant(string_view word) {
    const std::size_t n = word.size();
    return n >= 2 && word[n - 1] == word[n - 2] && is_consonant(word, n - 1);
}

// Like nltk, this also returns true for a two-letter word of vowel and consonant.
bool ends_cvc(string_view word) {
    const std::size_t n = word.size();
    if (n == 2) return !is_consonant(word, 0) && is_consonant(word, 1);
    if (n < 3) return false;
    const char last = word[n - 1];
    return is_consonant(word, n - 3) && !is_consonant(word, n - 2) && is_consonant(word, n - 1) &&
           last != 'w' && last != 'x' && last != 'y';
}

// The word being stemmed. It never becomes longer than the input, so it is changed in place.
class Word {
  public:
    Word(char* letters, std::size_t length) : letters_(letters), length_(length) {}

    string_view view() const { return {letters_, length_}; }
    std::size_t length() const { return length_; }
    char last() const { return letters_[length_ - 1]; }

    bool ends(string_view suffix) const {
        return length_ >= suffix.size() &&
               std::memcmp(letters_ + length_ - suffix.size(), suffix.data(), suffix.size()) == 0;
    }

    // The word without its last n letters.
    string_view without(std::size_t n) const { return view().substr(0, length_ - n); }

    void replace(std::size_t n, string_view replacement) {
        length_ -= n;
        std::memcpy(letters_ + length_, replacement.data(), replacement.size());
        length_ += replacement.size();
    }

  private:
    char* letters_;
    std::size_t length_;
};

struct Rule {
    string_view suffix, replacement;
    std::size_t measure_above = 0;
    // Number of letters of the suffix that count as part of the stem for its measure.
    std::size_t in_stem = 0;
};

// Applies the first rule whose suffix matches if its condition holds; later rules are not tried.
template <std::size_t N>
void apply(Word& word, const Rule (&rules)[N]) {
    for (const Rule& rule : rules) {
        if (!word.ends(rule.suffix)) continue;
        if (measure(word.without(rule.suffix.size() - rule.in_stem)) > rule.measure_above) {
            word.replace(rule.suffix.size(), rule.replacement);
        }
        return;
    }
}

bool irregular(Word& word) {
    static constexpr struct {
        string_view form, stem;
    } kForms[] = {
        {"sky", "sky"},         {"skies", "sky"},       {"dying", "die"},
        {"lying", "lie"},       {"tying", "tie"},       {"news", "news"},
        {"innings", "inning"},  {"inning", "inning"},   {"outings", "outing"},
        {"outing", "outing"},   {"cannings", "canning"}, {"canning", "canning"},
        {"howe", "howe"},       {"proceed", "proceed"}, {"exceed", "exceed"},
        {"succeed", "succeed"},
    };
    for (const auto& entry : kForms) {
        if (word.view() == entry.form) {
            word.replace(word.length(), entry.stem);
            return true;
        }
    }
    return false;
}

// Plurals.
void step1a(Word& word) {
    if (word.ends("ies")) {
        word.replace(3, word.length() == 4 ? "ie" : "i");
    } else if (word.ends("sses")) {
        word.replace(2, "");
    } else if (word.ends("s") && !word.ends("ss")) {
        word.replace(1, "");
    }
}

// -ed and -ing.
void step1b(Word& word) {
    if (word.ends("ied")) return word.replace(3, word.length() == 4 ? "ie" : "i");
    if (word.ends("eed")) {
        if (measure(word.without(3)) > 0) word.replace(1, "");
        return;
    }
    if (word.ends("ed") && contains_vowel(word.without(2))) {
        word.replace(2, "");
    } else if (word.ends("ing") && contains_vowel(word.without(3))) {
        word.replace(3, "");
    } else {
        return;
    }
    if (word.ends("at") || word.ends("bl") || word.ends("iz")) {
        word.replace(0, "e");
    } else if (ends_double_consonant(word.view())) {
        const char last = word.last();
        if (last != 'l' && last != 's' && last != 'z') word.replace(1, "");
    } else if (measure(word.view()) == 1 && ends_cvc(word.view())) {
        word.replace(0, "e");
    }
}

// -y after a consonant that is not the first letter.
void step1c(Word& word) {
    if (word.length() > 2 && word.last() == 'y' && is_consonant(word.view(), word.length() - 2)) {
        word.replace(1, "i");
    }
}

void step2(Word& word) {
    static constexpr Rule kRules[] = {
        {"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"},   {"anci", "ance"},
        {"izer", "ize"},    {"bli", "ble"},     {"alli", "al"},     {"entli", "ent"},
        {"eli", "e"},       {"ousli", "ous"},   {"ization", "ize"}, {"ation", "ate"},
        {"ator", "ate"},    {"alism", "al"},    {"iveness", "ive"}, {"fulness", "ful"},
        {"ousness", "ous"}, {"aliti", "al"},    {"iviti", "ive"},   {"biliti", "ble"},
        {"fulli", "ful"},   {"logi", "log", 0, 1},
    };
    // nltk first replaces -alli and then applies the list to the result.
    if (word.ends("alli") && measure(word.without(4)) > 0) word.replace(2, "");
    apply(word, kRules);
}

void step3(Word& word) {
    static constexpr Rule kRules[] = {
        {"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"},
        {"ical", "ic"},  {"ful", ""},   {"ness", ""},
    };
    apply(word, kRules);
}

void step4(Word& word) {
    // -ion needs a preceding s or t. It is the only suffix in the list that ends in -ion.
    if (word.ends("ion") && !word.ends("sion") && !word.ends("tion")) return;
    static constexpr Rule kRules[] = {
        {"al", "", 1},   {"ance", "", 1}, {"ence", "", 1},  {"er", "", 1},   {"ic", "", 1},
        {"able", "", 1}, {"ible", "", 1}, {"ant", "", 1},   {"ement", "", 1}, {"ment", "", 1},
        {"ent", "", 1},  {"ion", "", 1},  {"ou", "", 1},    {"ism", "", 1},  {"ate", "", 1},
        {"iti", "", 1},  {"ous", "", 1},  {"ive", "", 1},   {"ize", "", 1},
    };
    apply(word, kRules);
}

void step5(Word& word) {
    if (word.last() == 'e') {
        const string_view stem = word.without(1);
        const std::size_t m = measure(stem);
        if (m > 1 || (m == 1 && !ends_cvc(stem))) word.replace(1, "");
    }
    if (word.ends("ll") && measure(word.without(1)) > 1) word.replace(1, "");
}

}  // namespace

std::size_t porter_stem(char* letters, std::size_t length) {
    Word word(letters, length);
    if (length <= 2 || irregular(word)) return word.length();
    step1a(word);
    step1b(word);
    step1c(word);
    step2(word);
    step3(word);
    step4(word);
    step5(word);
    return word.length();
}

}  // namespace leakrepro
