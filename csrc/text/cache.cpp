#include "text/cache.h"

#include <array>
#include <mutex>

namespace leakrepro {
namespace {

struct Cache {
    std::mutex mutex;
    std::vector<std::unique_ptr<Words>> kept;
};

constexpr std::size_t kMostKept = 64;

// Never destroyed, because threads may outlive static destructors.
Cache& cache(bool stem) {
    static auto& caches = *new std::array<Cache, 2>;
    return caches[stem];
}

}  // namespace

std::unique_ptr<Words> take_words(bool stem) {
    Cache& from = cache(stem);
    {
        // try_to_lock, because a process that was forked while the lock was held would wait
        // forever.
        const std::unique_lock<std::mutex> lock(from.mutex, std::try_to_lock);
        if (lock && !from.kept.empty()) {
            std::unique_ptr<Words> words = std::move(from.kept.back());
            from.kept.pop_back();
            return words;
        }
    }
    return std::make_unique<Words>(stem);
}

void give_words(std::unique_ptr<Words> words, bool stem) {
    if (words->vocabulary.size() > kMostWords) return;
    Cache& to = cache(stem);
    const std::unique_lock<std::mutex> lock(to.mutex, std::try_to_lock);
    if (lock && to.kept.size() < kMostKept) to.kept.push_back(std::move(words));
}

void forget_words() {
    for (const bool stem : {false, true}) {
        Cache& from = cache(stem);
        const std::lock_guard<std::mutex> lock(from.mutex);
        from.kept.clear();
    }
}

}  // namespace leakrepro
