// The pool and the kept vocabularies under many threads, for the thread sanitizer: several calls at
// once, each over several threads, some ended early by poll(); all results must be those of one
// thread.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "dispatch.h"
#include "ids.h"
#include "rouge.h"

using namespace leakrepro;

namespace {

constexpr std::size_t kGroups = 40, kCandidates = 60, kWords = 60, kDifferent = 500;

struct Case {
    std::vector<std::string> owned;
    std::vector<Text> references, candidates;
    std::vector<std::size_t> offsets{0};
    std::vector<std::uint16_t> ids;
    std::vector<std::int64_t> id_offsets{0};

    Case() {
        std::mt19937 random(7);
        for (std::size_t text = 0; text < kGroups * (1 + kCandidates); ++text) {
            std::string words;
            for (std::size_t i = 0; i < kWords; ++i) {
                const auto word = static_cast<std::uint16_t>(random() % kDifferent);
                words += "word" + std::to_string(word) + (word % 3 == 0 ? "ing " : "ed ");
                ids.push_back(word);
            }
            id_offsets.push_back(static_cast<std::int64_t>(ids.size()));
            owned.push_back(std::move(words));
        }
        for (std::size_t i = 0; i < owned.size(); ++i) {
            const Text text{owned[i].data(), owned[i].size(), 1};
            (i < kGroups ? references : candidates).push_back(text);
        }
        for (std::size_t g = 1; g <= kGroups; ++g) offsets.push_back(g * kCandidates);
    }

    std::vector<double> score(const Implementation& implementation, std::size_t threads,
                              const std::function<void()>& poll) const {
        const std::size_t pairs = candidates.size();
        std::vector<double> values(3 * pairs);
        rouge_l({references, candidates, offsets}, true, implementation, threads, poll,
                {values.data(), values.data() + pairs, values.data() + 2 * pairs});
        return values;
    }

    std::vector<std::int32_t> lengths(const Implementation& implementation, std::size_t threads,
                                      const std::function<void()>& poll) const {
        std::vector<std::int32_t> values(kGroups * candidates.size());
        lcs_length({{ids.data(), id_offsets.data(), kGroups},
                    {ids.data(), id_offsets.data() + kGroups, candidates.size()},
                    2,
                    kDifferent,
                    nullptr},
                   implementation, threads, poll, values.data());
        return values;
    }
};

struct Interrupted : std::runtime_error {
    Interrupted() : std::runtime_error("interrupted") {}
};

}  // namespace

int main() {
    const Case input;
    std::atomic<int> done{0}, interrupted{0}, wrong{0};
    const auto call = [&](const Implementation& implementation, int number) {
        const std::vector<double> scores = input.score(implementation, 1, [] {});
        const std::vector<std::int32_t> lengths = input.lengths(implementation, 1, [] {});
        for (int round = 0; round < 4; ++round) {
            int left = (round + number) % 2 == 0 ? 1 << 30 : 1;
            const auto poll = [&left] {
                if (--left < 0) throw Interrupted();
            };
            try {
                wrong += input.score(implementation, 4, poll) != scores;
                wrong += input.lengths(implementation, 4, poll) != lengths;
                ++done;
            } catch (const Interrupted&) {
                ++interrupted;
            }
        }
    };
    for (const Implementation& implementation : implementations()) {
        std::vector<std::thread> callers;
        for (int i = 0; i < 3; ++i) callers.emplace_back([&, i] { call(implementation, i); });
        for (std::thread& caller : callers) caller.join();
    }
    std::printf("%d calls done, %d interrupted, %d wrong\n", done.load(), interrupted.load(),
                wrong.load());
    return wrong == 0 && done > 0 && interrupted > 0 ? 0 : 1;
}
