// In the place of csrc/cuda/launch.h: kernels as fibers, one block after the other.
//
// The threads of a block take turns in random order and run until they wait for each other, so that
// a barrier that is missing shows as a wrong result. What waits for what never comes is an error.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "cuda/memory.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define EMULATOR_START_SWITCH(save, bottom, size) __sanitizer_start_switch_fiber(save, bottom, size)
#define EMULATOR_FINISH_SWITCH(save, bottom, size) \
    __sanitizer_finish_switch_fiber(save, bottom, size)
#else
#define EMULATOR_START_SWITCH(save, bottom, size) (void)0
#define EMULATOR_FINISH_SWITCH(save, bottom, size) (void)0
#endif

#define __global__ inline
#define __device__
#define LEAKREPRO_SHARED(name) unsigned char* const name = emulator::block().shared()
#define LEAKREPRO_SHARED_ARRAY(type, name, size) static type name[size]
#define LEAKREPRO_UNROLL

namespace emulator {

struct Index {
    unsigned x = 0;
};

inline Index thread_index, block_index, block_size, grid_size;

enum class Waits { kNo, kForBlock, kForBallot, kForShuffle, kIsDone };

class Block {
  public:
    static constexpr unsigned kLanes = 32;
    static constexpr std::size_t kStack = 128 * 1024;

    unsigned char* shared() { return shared_.data(); }

    void run(unsigned threads, std::size_t shared, const std::function<void()>& body) {
        body_ = &body;
        shared_.assign(shared, 0xCD);
        shared_.shrink_to_fit();
        while (fibers_.size() < threads) fibers_.push_back(std::make_unique<Fiber>());
        order_.resize(threads);
        for (unsigned t = 0; t < threads; ++t) {
            order_[t] = t;
            Fiber& fiber = *fibers_[t];
            fiber.waits = Waits::kNo;
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.get();
            fiber.context.uc_stack.ss_size = kStack;
            fiber.context.uc_link = nullptr;
            makecontext(&fiber.context, &Block::enter, 0);
        }
        while (take_turns() || release()) {
        }
        for (unsigned t : order_) {
            if (fibers_[t]->waits != Waits::kIsDone) fail("threads wait for ever");
        }
    }

    // From within a thread: waits, and returns what the threads that waited with it make of it.
    std::uint64_t wait(Waits reason, std::uint64_t value = 0, unsigned distance = 0) {
        Fiber& mine = *fibers_[current_];
        mine.waits = reason;
        mine.value = value;
        mine.distance = distance;
        leave();
        return mine.value;
    }

  private:
    struct Fiber {
        ucontext_t context;
        std::unique_ptr<unsigned char[]> stack{new unsigned char[kStack]};
        Waits waits = Waits::kIsDone;
        std::uint64_t value = 0;
        unsigned distance = 0;
    };

    std::vector<std::unique_ptr<Fiber>> fibers_;
    std::vector<unsigned> order_;
    std::vector<unsigned char> shared_;
    const std::function<void()>* body_ = nullptr;
    ucontext_t scheduler_;
    const void* scheduler_bottom_ = nullptr;
    std::size_t scheduler_size_ = 0;
    unsigned current_ = 0;
    std::mt19937 random_{7};

    [[noreturn]] static void fail(const char* what) {
        std::fprintf(stderr, "emulator: %s\n", what);
        std::abort();
    }

    static void enter();

    void leave() {
        Fiber& mine = *fibers_[current_];
        [[maybe_unused]] void* fake = nullptr;
        EMULATOR_START_SWITCH(mine.waits == Waits::kIsDone ? nullptr : &fake, scheduler_bottom_,
                              scheduler_size_);
        swapcontext(&mine.context, &scheduler_);
        EMULATOR_FINISH_SWITCH(fake, &scheduler_bottom_, &scheduler_size_);
    }

    bool take_turns() {
        bool any = false;
        std::shuffle(order_.begin(), order_.end(), random_);
        for (unsigned t : order_) {
            Fiber& fiber = *fibers_[t];
            if (fiber.waits != Waits::kNo) continue;
            any = true;
            current_ = t;
            thread_index.x = t;
            [[maybe_unused]] void* fake = nullptr;
            EMULATOR_START_SWITCH(&fake, fiber.stack.get(), kStack);
            swapcontext(&scheduler_, &fiber.context);
            EMULATOR_FINISH_SWITCH(fake, nullptr, nullptr);
        }
        return any;
    }

    // Lets those go on who have all come. False when there are none.
    bool release() {
        const auto threads = static_cast<unsigned>(order_.size());
        bool any = false;
        for (unsigned first = 0; first < threads; first += kLanes) {
            any |= release_warp(first, std::min(first + kLanes, threads));
        }
        if (any) return true;
        for (unsigned t = 0; t < threads; ++t) {
            const Waits waits = fibers_[t]->waits;
            if (waits != Waits::kForBlock && waits != Waits::kIsDone) return false;
            any |= waits == Waits::kForBlock;
        }
        for (unsigned t = 0; t < threads; ++t) {
            if (fibers_[t]->waits == Waits::kForBlock) fibers_[t]->waits = Waits::kNo;
        }
        return any;
    }

    bool release_warp(unsigned first, unsigned last) {
        const Waits reason = fibers_[first]->waits;
        if (reason != Waits::kForBallot && reason != Waits::kForShuffle) return false;
        std::uint64_t ballot = 0;
        std::vector<std::uint64_t> values;
        for (unsigned t = first; t < last; ++t) {
            if (fibers_[t]->waits != reason) return false;  // all lanes must come
            ballot |= std::uint64_t{fibers_[t]->value != 0} << (t - first);
            values.push_back(fibers_[t]->value);
        }
        for (unsigned t = first; t < last; ++t) {
            Fiber& fiber = *fibers_[t];
            const unsigned from = t - first + fiber.distance;
            fiber.value = reason == Waits::kForBallot ? ballot
                                                      : values[from < values.size() ? from : t - first];
            fiber.waits = Waits::kNo;
        }
        return true;
    }
};

inline Block& block() {
    static Block the_block;
    return the_block;
}

inline void Block::enter() {
    Block& mine = block();
    EMULATOR_FINISH_SWITCH(nullptr, &mine.scheduler_bottom_, &mine.scheduler_size_);
    (*mine.body_)();
    mine.fibers_[mine.current_]->waits = Waits::kIsDone;
    mine.leave();
}

}  // namespace emulator

#define threadIdx emulator::thread_index
#define blockIdx emulator::block_index
#define blockDim emulator::block_size
#define gridDim emulator::grid_size

inline void __syncthreads() { emulator::block().wait(emulator::Waits::kForBlock); }
inline void __syncwarp() { emulator::block().wait(emulator::Waits::kForBallot); }
inline unsigned __ballot_sync(unsigned, bool vote) {
    return static_cast<unsigned>(emulator::block().wait(emulator::Waits::kForBallot, vote));
}
inline int __shfl_down_sync(unsigned, int value, int distance) {
    return static_cast<int>(emulator::block().wait(emulator::Waits::kForShuffle,
                                                   static_cast<std::uint32_t>(value),
                                                   static_cast<unsigned>(distance)));
}
inline int __popcll(std::uint64_t bits) { return __builtin_popcountll(bits); }
template <class T>
T atomicAdd(T* to, T value) {
    const T before = *to;
    *to += value;
    return before;
}
template <class T>
T atomicMax(T* to, T value) {
    const T before = *to;
    *to = std::max(before, value);
    return before;
}
template <class T>
T atomicOr(T* to, T value) {
    const T before = *to;
    *to |= value;
    return before;
}
template <class T>
T atomicCAS(T* to, T expected, T value) {
    const T before = *to;
    if (before == expected) *to = value;
    return before;
}

namespace leakrepro {

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), unsigned blocks, unsigned threads, std::size_t shared,
            cudaStream_t, const Arguments&... arguments) {
    emulator::block_size.x = threads;
    emulator::grid_size.x = blocks;
    for (unsigned b = 0; b < blocks; ++b) {
        emulator::block_index.x = b;
        emulator::block().run(threads, shared,
                              [&] { kernel(static_cast<Parameters>(arguments)...); });
    }
}

}  // namespace leakrepro
