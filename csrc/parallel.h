// Runs numbered tasks over a few threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace leakrepro {

// Calls worker(task) once for every task in [0, tasks). Each of the `threads` threads, which
// include the calling thread, calls make_worker() once, so that a worker owns its buffers. The
// calling thread regularly calls poll(), which may throw. The first exception of any thread stops
// all threads and is rethrown after they have ended.
template <class MakeWorker, class Poll>
void run_tasks(std::size_t tasks, std::size_t threads, const MakeWorker& make_worker,
               const Poll& poll) {
    // Small tasks are taken in batches, because taking one costs about as much as scoring a pair.
    constexpr std::size_t kMostAtOnce = 32, kTurnsOfEachThread = 64;
    const std::size_t at_once =
        std::clamp<std::size_t>(tasks / (threads * kTurnsOfEachThread + 1), 1, kMostAtOnce);
    std::atomic<std::size_t> next{0};
    std::atomic<bool> stopped{false};
    std::mutex mutex;
    std::exception_ptr failure;

    const auto stop = [&](std::exception_ptr reason) {
        const std::lock_guard<std::mutex> lock(mutex);
        if (!failure) failure = std::move(reason);
        stopped = true;
    };
    const auto work = [&](const auto& between) noexcept {
        try {
            auto worker = make_worker();
            while (!stopped) {
                const std::size_t first = next.fetch_add(at_once);
                if (first >= tasks) break;
                const std::size_t last = std::min(first + at_once, tasks);
                for (std::size_t task = first; task < last; ++task) worker(task);
                between();
            }
        } catch (...) {
            stop(std::current_exception());
        }
    };

    std::vector<std::thread> others;
    try {
        for (std::size_t i = 1; i < threads; ++i) others.emplace_back([&] { work([] {}); });
    } catch (...) {  // the system cannot start more threads
        stop(std::current_exception());
    }
    work(poll);
    for (std::thread& thread : others) thread.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace leakrepro
