// Stands in for CUDA's header of this name, so that g++ compiles kernels as C++ and runs them here.
//
// The threads of a block are fibers of one thread, which take turns only where they wait for each
// other, in an order that changes from block to block: what one thread reads before another has
// written it is then truly missing. Blocks run one after the other. A wait that cannot end, and
// lanes that wait for different things, end the program. "Device" memory is the host's, but known
// by address, and filled with noise.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(16) uint4 {
    std::uint32_t x, y, z, w;
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {

[[noreturn]] inline void fail(const char* what) {
    std::fprintf(stderr, "emulator: %s (block %u %u, thread %u)\n", what, blockIdx.x, blockIdx.y,
                 threadIdx.x);
    std::exit(2);
}

struct Fiber {
    static constexpr std::size_t kStack = 1 << 17;
    ucontext_t context{};
    std::unique_ptr<char[]> stack{new char[kStack]};
    bool done = false;
    void* fake_stack = nullptr;
};

struct Warp {
    std::uint64_t values[2][32];
    int operation[2];
    std::uint32_t arrived = 0;
    unsigned round = 0;
};

inline std::vector<Fiber> fibers;
inline std::vector<Warp> warps;
inline ucontext_t scheduler;
inline const void* scheduler_stack;
inline std::size_t scheduler_size;
inline void* scheduler_fake;
inline std::function<void()> kernel;
inline unsigned waiting, round, alive;
inline bool progress;
inline std::mt19937 order(1);

inline void start_switch([[maybe_unused]] void** save, [[maybe_unused]] const void* bottom,
                         [[maybe_unused]] std::size_t size) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(save, bottom, size);
#endif
}
inline void finish_switch([[maybe_unused]] void* save, [[maybe_unused]] const void** bottom,
                          [[maybe_unused]] std::size_t* size) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(save, bottom, size);
#endif
}

inline void give_way() {
    Fiber& self = fibers[threadIdx.x];
    start_switch(&self.fake_stack, scheduler_stack, scheduler_size);
    swapcontext(&self.context, &scheduler);
    finish_switch(self.fake_stack, &scheduler_stack, &scheduler_size);
}

inline void release_if_all_wait() {
    if (waiting == 0 || waiting < alive) return;
    waiting = 0;
    ++round;
    progress = true;
}

inline void barrier() {
    const unsigned mine = round;
    ++waiting;
    release_if_all_wait();
    while (round == mine) give_way();
}

// All 32 lanes give a value and see those of the others.
inline const std::uint64_t* exchange(std::uint32_t lanes, std::uint64_t value, int operation) {
    if (lanes != 0xffffffffu) fail("lanes other than all are not emulated");
    Warp& warp = warps[threadIdx.x / 32];
    const unsigned mine = warp.round, lane = threadIdx.x % 32;
    if (warp.arrived == 0) warp.operation[mine % 2] = operation;
    if (warp.operation[mine % 2] != operation) fail("lanes of a warp wait for different things");
    warp.values[mine % 2][lane] = value;
    warp.arrived |= 1u << lane;
    if (warp.arrived == 0xffffffffu) {
        warp.arrived = 0;
        ++warp.round;
        progress = true;
    }
    while (warp.round == mine) give_way();
    return warp.values[mine % 2];
}

inline void run_fiber() {
    finish_switch(nullptr, &scheduler_stack, &scheduler_size);
    kernel();
    Fiber& self = fibers[threadIdx.x];
    self.done = true;
    --alive;
    progress = true;
    release_if_all_wait();
    start_switch(nullptr, scheduler_stack, scheduler_size);
    swapcontext(&self.context, &scheduler);
}

inline void run_block() {
    if (blockDim.x % 32 != 0) fail("a block of broken warps");
    if (fibers.size() < blockDim.x) fibers = std::vector<Fiber>(blockDim.x);
    warps.assign(blockDim.x / 32, {});
    waiting = round = 0;
    alive = blockDim.x;
    std::vector<unsigned> turns(blockDim.x);
    std::iota(turns.begin(), turns.end(), 0u);
    std::shuffle(turns.begin(), turns.end(), order);
    for (unsigned i = 0; i < blockDim.x; ++i) {
        Fiber& fiber = fibers[i];
        fiber.done = false;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = Fiber::kStack;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, run_fiber, 0);
    }
    while (alive > 0) {
        progress = false;
        for (unsigned i : turns) {
            if (fibers[i].done) continue;
            threadIdx = dim3(i);
            start_switch(&scheduler_fake, fibers[i].stack.get(), Fiber::kStack);
            swapcontext(&scheduler, &fibers[i].context);
            finish_switch(scheduler_fake, nullptr, nullptr);
        }
        if (!progress) fail("threads wait for each other forever");
    }
}

inline std::map<const char*, std::size_t> memory;  // of the device

inline bool is_device(const void* pointer) {
    const auto* at = static_cast<const char*>(pointer);
    auto next = memory.upper_bound(at);
    if (next == memory.begin()) return false;
    --next;
    return at < next->first + next->second;
}

}  // namespace emulator

inline void __syncthreads() { emulator::barrier(); }
inline std::uint32_t __ballot_sync(std::uint32_t lanes, bool vote) {
    const std::uint64_t* votes = emulator::exchange(lanes, vote, 1);
    std::uint32_t result = 0;
    for (int i = 0; i < 32; ++i) result |= static_cast<std::uint32_t>(votes[i]) << i;
    return result;
}
template <class T>
T __shfl_sync(std::uint32_t lanes, T value, int source, int width = 32) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    return static_cast<T>(emulator::exchange(lanes, static_cast<std::uint64_t>(value),
                                             2)[lane / width * width + source % width]);
}
template <class T>
T __shfl_xor_sync(std::uint32_t lanes, T value, int with) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    return static_cast<T>(
        emulator::exchange(lanes, static_cast<std::uint64_t>(value), 3)[lane ^ with]);
}

template <class T>
T atomicCAS(T* at, T compare, T value) {
    const T before = *at;
    if (before == compare) *at = value;
    return before;
}
template <class T>
T atomicMin(T* at, T value) {
    const T before = *at;
    *at = std::min(before, value);
    return before;
}
template <class T>
T atomicOr(T* at, T value) {
    const T before = *at;
    *at |= value;
    return before;
}
inline std::uint32_t __umulhi(std::uint32_t a, std::uint32_t b) {
    return static_cast<std::uint32_t>((static_cast<std::uint64_t>(a) * b) >> 32);
}
inline int __popcll(std::uint64_t word) { return __builtin_popcountll(word); }
template <class T>
T min(T a, T b) {
    return a < b ? a : b;
}
template <class T>
T max(T a, T b) {
    return a < b ? b : a;
}

using cudaStream_t = struct CUstream_st*;
enum cudaError_t { cudaSuccess, cudaErrorInvalidValue, cudaErrorMemoryAllocation };
enum cudaMemcpyKind { cudaMemcpyDefault };
enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeDevice, cudaMemoryTypeManaged };
struct cudaPointerAttributes {
    cudaMemoryType type;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    std::size_t dynamicSmemBytes;
    cudaStream_t stream;
    void* attrs;
    unsigned numAttrs;
};

inline const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorMemoryAllocation ? "out of memory" : "invalid argument";
}
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int device) {
    return device == 0 ? cudaSuccess : cudaErrorInvalidValue;
}
inline cudaError_t cudaMallocAsync(void** pointer, std::size_t size, cudaStream_t) {
    *pointer = std::malloc(size);
    if (*pointer == nullptr) return cudaErrorMemoryAllocation;
    std::memset(*pointer, 0xa5, size);
    emulator::memory[static_cast<const char*>(*pointer)] = size;
    return cudaSuccess;
}
inline cudaError_t cudaFreeAsync(void* pointer, cudaStream_t) {
    if (emulator::memory.erase(static_cast<const char*>(pointer)) != 1) return cudaErrorInvalidValue;
    std::free(pointer);
    return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* pointer, int value, std::size_t size, cudaStream_t) {
    std::memset(pointer, value, size);
    return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t size, cudaMemcpyKind,
                                   cudaStream_t) {
    std::memcpy(to, from, size);
    return cudaSuccess;
}
inline cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from,
                                     std::size_t from_pitch, std::size_t width, std::size_t height,
                                     cudaMemcpyKind, cudaStream_t) {
    if (width > to_pitch || width > from_pitch) return cudaErrorInvalidValue;
    for (std::size_t i = 0; i < height; ++i) {
        std::memcpy(static_cast<char*>(to) + i * to_pitch,
                    static_cast<const char*>(from) + i * from_pitch, width);
    }
    return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
    attributes->type =
        emulator::is_device(pointer) ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered;
    return cudaSuccess;
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments... arguments) {
    const dim3 grid = config->gridDim;
    if (grid.x == 0 || grid.y == 0 || grid.y > 65535 || config->blockDim.x > 1024) {
        return cudaErrorInvalidValue;
    }
    gridDim = grid;
    blockDim = config->blockDim;
    emulator::kernel = [=] { kernel(arguments...); };
    for (unsigned y = 0; y < grid.y; ++y) {
        for (unsigned x = 0; x < grid.x; ++x) {
            blockIdx = dim3(x, y);
            emulator::run_block();
        }
    }
    return cudaSuccess;
}
