// References of more than 64 tokens, and long candidates: words of the bit vector over the lanes.
//
// kLanes lanes take a pair, so that a warp takes 32 / kLanes of them. A lane adds its word alone;
// which of the words overflow (they generate a carry) and which are all ones (they propagate one)
// is known by two ballots, and one addition of these bits carries from lane to lane. References
// of more than 32 words are matched in bands, one after the other, with the carries in between
// stored for each token of a candidate.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/short.h"
#include "cuda/table.h"

namespace leakrepro {

constexpr int kLongThreads = 128;

// Candidates of the slice and what they are compared with.
template <class Id>
struct LongPairs {
    References<Id> references;
    std::uint32_t* slots;  // a table for each reference
    const Id* ids;
    const std::int64_t* offsets;
    std::int32_t candidates;
    const std::int64_t* groups;  // of each reference in candidates; null for all
};

// masks[row * lanes + word] of band `band`, with rows by the first position of an id. A block a
// reference; masks are zero before.
static __global__ void set_masks(const std::int64_t* offsets, const std::uint32_t* numbers,
                                 std::int32_t band, int lanes, unsigned long long* masks) {
    const std::int64_t begin = offsets[blockIdx.x], end = offsets[blockIdx.x + 1];
    const std::int64_t width = 64 * lanes;
    const std::int64_t last = min(begin + width * (band + 1), end);
    for (std::int64_t i = begin + width * band + threadIdx.x; i < last; i += blockDim.x) {
        const std::int64_t bit = (i - begin) % width;
        const std::int64_t row = static_cast<std::int64_t>(numbers[i]) - 1;
        atomicOr(masks + row * lanes + bit / 64, 1ull << (bit % 64));
    }
}

// The reference whose candidates `candidate` is one of.
__device__ inline std::int32_t group_of(const std::int64_t* groups, std::int32_t references,
                                        std::int64_t candidate) {
    std::int32_t low = 0, high = references - 1;
    while (low < high) {
        const std::int32_t middle = low + (high - low) / 2;
        if (groups[middle + 1] <= candidate) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

// lengths[reference * stride + candidate]; stride is 0 where there are groups. `carries` has an
// entry for each token of the candidates, or is null where there is only one band.
template <class Id, int kLanes>
__global__ void __launch_bounds__(kLongThreads)
    match_long(LongPairs<Id> pairs, const unsigned long long* masks, std::int32_t band,
               std::uint8_t* carries, std::int32_t* lengths, std::int64_t stride) {
    const int part = static_cast<int>(threadIdx.x) % kLanes;
    const int group = static_cast<int>(threadIdx.x % kWarp) - part;  // its first lane
    const std::int64_t candidate =
        (static_cast<std::int64_t>(blockIdx.x) * kLongThreads + threadIdx.x) / kLanes;
    bool taken = candidate < pairs.candidates;
    std::int32_t reference = static_cast<std::int32_t>(blockIdx.y);
    if (taken && pairs.groups != nullptr) {
        reference = group_of(pairs.groups, pairs.references.count, candidate);
    }
    std::int64_t begin = 0, length = 0;
    if (taken) {
        begin = pairs.offsets[candidate];
        length = pairs.offsets[candidate + 1] - begin;
        taken = length > kShortCandidate ||
                pairs.references.offsets[reference + 1] - pairs.references.offsets[reference] >
                    kShortReference;
        if (!taken) length = 0;
    }
    // All lanes of a warp take as many steps, as they vote together.
    auto steps = static_cast<std::int32_t>(length);
    for (int step = kWarp / 2; step > 0; step /= 2) {
        steps = max(steps, __shfl_xor_sync(kAllLanes, steps, step));
    }
    const Table<Id> table = table_of(pairs.references, pairs.slots, reference, true);

    std::uint64_t v = ~std::uint64_t{0};
    for (std::int32_t first = 0; first < steps; first += kLanes) {
        const bool has = first + part < length;
        const std::int64_t token = begin + first + part;
        const std::uint32_t found = has ? table.find(pairs.ids[token]) : 0;
        std::uint32_t carry_in = has && carries != nullptr && band > 0 ? carries[token] : 0;
        std::uint32_t carry_out = 0;
        const int now = min(kLanes, steps - first);
        for (int j = 0; j < now; ++j) {
            const std::uint32_t row = __shfl_sync(kAllLanes, found, j, kLanes);
            std::uint32_t carry = 0;
            if (carries != nullptr) carry = __shfl_sync(kAllLanes, carry_in, j, kLanes);
            const std::uint64_t mask =
                row == 0 ? 0 : masks[static_cast<std::int64_t>(row - 1) * kLanes + part];
            const std::uint64_t sum = v + (v & mask);
            constexpr std::uint64_t kGroup = ~std::uint64_t{0} >> (64 - kLanes);
            const std::uint64_t generate =
                (__ballot_sync(kAllLanes, sum < v) >> group) & kGroup;
            const std::uint64_t propagate =
                (__ballot_sync(kAllLanes, sum == ~std::uint64_t{0}) >> group) & kGroup;
            // Bit i is the carry into word i; no word generates and propagates at once.
            const std::uint64_t into = ((generate << 1 | carry) + propagate) ^ propagate;
            v = (sum + ((into >> part) & 1)) | (v & ~mask);
            if (part == j) carry_out = static_cast<std::uint32_t>(into >> kLanes) & 1;
        }
        if (has && carries != nullptr) carries[token] = static_cast<std::uint8_t>(carry_out);
    }
    std::int32_t zeros = __popcll(~v);
    for (int step = kLanes / 2; step > 0; step /= 2) {
        zeros += __shfl_xor_sync(kAllLanes, zeros, step);
    }
    if (!taken || part != 0) return;
    std::int32_t& result = lengths[reference * stride + candidate];
    result = band == 0 ? zeros : result + zeros;
}

}  // namespace leakrepro
