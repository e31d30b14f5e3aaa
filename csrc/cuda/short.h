// References of up to 64 tokens: a thread a candidate, a block a tile of candidates.
//
// First the candidates are packed: sorted by length within a tile, so that the threads of a warp
// end together, their ids replaced by small numbers and those of no reference left out. A warp
// reads chunks of 16 bytes, those of its candidates side by side. Numbers are classes of the one
// reference (a byte each), or positions in a slice of references that all candidates are compared
// with (two bytes each), which a table in shared memory turns into classes.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/table.h"

namespace leakrepro {

constexpr unsigned kWarp = 32;
constexpr std::uint32_t kAllLanes = 0xffffffffu;
constexpr int kShortReference = 64;   // tokens of a reference at most, one word
constexpr int kShortCandidate = 512;  // tokens of a candidate at most; a warp takes longer ones
constexpr int kTile = 256;            // candidates of a tile at most
constexpr int kTileWarps = kTile / kWarp;
constexpr int kMostNumbers = 1 << 15;  // numbers of two bytes, so that shared memory is enough

// Candidates `first` up to `first + count` of the slice; their chunks start at `chunk`.
struct Tile {
    std::int64_t chunk;
    std::int32_t first, count;
    std::int32_t reference;  // -1 for all of the slice
};

// Chunks of a warp's candidates: chunk k of candidate i is number first + k * lanes + i.
struct Packed {
    std::int64_t first;
    std::int32_t chunks, lanes;
};

template <class Item>
constexpr int kItems = 16 / static_cast<int>(sizeof(Item));  // of a chunk

// Descending.
__device__ inline void sort_tile(std::uint32_t* keys) {
    const unsigned i = threadIdx.x;
    for (unsigned run = 2; run <= kTile; run *= 2) {
        for (unsigned step = run / 2; step > 0; step /= 2) {
            __syncthreads();
            const unsigned other = i ^ step;
            if (other > i) {
                const std::uint32_t a = keys[i], b = keys[other];
                if ((a < b) == ((i & run) == 0)) {
                    keys[i] = b;
                    keys[other] = a;
                }
            }
        }
    }
    __syncthreads();
}

// order[tile * kTile + i] is the candidate of thread i, or -1.
template <class Id, class Item>
__global__ void __launch_bounds__(kTile)
    pack(const Tile* tiles, const Id* ids, const std::int64_t* offsets, References<Id> references,
         std::uint32_t* slots, uint4* chunks, Packed* packed, std::int32_t* order) {
    __shared__ std::uint32_t keys[kTile];
    const int i = static_cast<int>(threadIdx.x);
    const Tile tile = tiles[blockIdx.x];
    std::uint32_t length = 0;
    if (i < tile.count) {
        const std::int64_t size = offsets[tile.first + i + 1] - offsets[tile.first + i];
        if (size <= kShortCandidate) length = static_cast<std::uint32_t>(size) + 1;
    }
    keys[i] = length * kTile + static_cast<std::uint32_t>(i);
    sort_tile(keys);

    // Where the chunks of this warp start: after those of the warps before, with room for all ids.
    const int warp = i / static_cast<int>(kWarp), lane = i % static_cast<int>(kWarp);
    const int lanes = min(static_cast<int>(kWarp), max(tile.count - warp * 32, 0));
    std::int64_t first = tile.chunk;
    for (int before = 0; before < warp; ++before) {
        const int longest = static_cast<int>(keys[before * 32] / kTile) - 1;
        first += (max(longest, 0) + kItems<Item> - 1) / kItems<Item> *
                 min(static_cast<int>(kWarp), max(tile.count - before * 32, 0));
    }

    const std::int32_t candidate = tile.first + static_cast<std::int32_t>(keys[i] % kTile);
    const bool mine = keys[i] >= kTile;  // absent and long ones have length 0
    constexpr int kBits = 8 * static_cast<int>(sizeof(Item));
    constexpr int kPerWord = 32 / kBits;
    auto* words = reinterpret_cast<std::uint32_t*>(chunks + first + lane);
    const auto word_of = [&](int word) { return words + (word / 4) * lanes * 4 + word % 4; };
    int items = 0;
    std::uint32_t word = 0;
    if (mine) {
        const bool own = tile.reference >= 0;
        const Table<Id> table = table_of(references, slots, tile.reference, own);
        const std::uint32_t zero =
            own ? static_cast<std::uint32_t>(references.offsets[tile.reference]) : 0;
        for (std::int64_t j = offsets[candidate]; j < offsets[candidate + 1]; ++j) {
            const std::uint32_t found = table.find(ids[j]);
            if (found == 0) continue;
            word |= (found - zero) << (items % kPerWord * kBits);
            if (++items % kPerWord == 0) {
                *word_of(items / kPerWord - 1) = word;
                word = 0;
            }
        }
    }
    const int used = (items + kItems<Item> - 1) / kItems<Item>;
    int most = used;
    for (int step = kWarp / 2; step > 0; step /= 2) {
        most = max(most, __shfl_xor_sync(kAllLanes, most, step));
    }
    if (lane < lanes) {
        for (int w = items / kPerWord; w < most * 4; ++w) {
            *word_of(w) = word;
            word = 0;
        }
    }
    if (lane == 0) packed[blockIdx.x * kTileWarps + warp] = {first, most, lanes};
    order[blockIdx.x * kTile + i] = mine ? candidate : -1;
}

// H. Hyyro, 2004, as in lcs/lcs.h: V = (V + (V & M)) | (V & ~M).
__device__ inline std::uint64_t step(std::uint64_t v, std::uint64_t mask) {
    return (v + (v & mask)) | (v & ~mask);
}

// lengths[reference * stride + candidate], or lengths[candidate] where tiles have a reference.
template <class Item>
__global__ void __launch_bounds__(kTile)
    match_short(const Tile* tiles, const Packed* packed, const std::int32_t* order,
                const uint4* chunks, const std::int64_t* offsets, std::int32_t references,
                const std::uint32_t* numbers, std::int32_t* lengths, std::int64_t stride) {
    constexpr bool kAll = sizeof(Item) == 2;
    constexpr int kBanks = 16;  // of eight bytes; each lane of a half-warp reads from its own
    __shared__ std::uint64_t masks[(kShortReference + 1) * kBanks];
    __shared__ std::uint64_t mask_of[kShortReference + 1];
    __shared__ std::uint32_t reference_numbers[kShortReference];
    __shared__ uint4 classes[kAll ? kMostNumbers / 16 : 1];
    auto* const class_of = reinterpret_cast<std::uint8_t*>(classes);

    const int i = static_cast<int>(threadIdx.x);
    const Tile tile = tiles[blockIdx.x];
    const Packed row = packed[blockIdx.x * kTileWarps + i / 32];
    const std::int32_t candidate = order[blockIdx.x * kTile + i];
    if (kAll) {
        for (int j = i; j < kMostNumbers / 16; j += kTile) classes[j] = uint4{0, 0, 0, 0};
    }
    const std::int32_t begin = kAll ? static_cast<std::int32_t>(blockIdx.y) : tile.reference;
    const std::int32_t end = kAll ? references : tile.reference + 1;
    for (std::int32_t reference = begin; reference < end;
         reference += static_cast<std::int32_t>(gridDim.y)) {
        const std::int64_t at = offsets[reference];
        const std::int64_t size = offsets[reference + 1] - at;
        if (size > kShortReference) continue;  // so for all threads of the block
        if (i <= kShortReference) mask_of[i] = 0;
        if (i < size) reference_numbers[i] = numbers[at + i];
        __syncthreads();
        bool is_first = false;
        if (i < size) {
            std::uint64_t mask = 0;
            for (int j = 0; j < size; ++j) {
                const bool same = reference_numbers[j] == reference_numbers[i];
                mask |= static_cast<std::uint64_t>(same) << j;
            }
            // The first of equal tokens writes for all; its place plus one is their class.
            is_first = mask << (63 - i) == std::uint64_t{1} << 63;
            if (is_first) {
                mask_of[i + 1] = mask;
                if (kAll) class_of[reference_numbers[i]] = static_cast<std::uint8_t>(i + 1);
            }
        }
        __syncthreads();
        for (int j = i; j < (kShortReference + 1) * kBanks; j += kTile) {
            masks[j] = mask_of[j / kBanks];
        }
        __syncthreads();

        if (candidate >= 0) {
            const std::uint64_t* mine = masks + i % kBanks;
            std::uint64_t v = ~std::uint64_t{0};
            const uint4* chunk = chunks + row.first + i % 32;
            for (std::int32_t k = 0; k < row.chunks; ++k, chunk += row.lanes) {
                const uint4 four = *chunk;
                const std::uint32_t words[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
                for (const std::uint32_t word : words) {
#pragma unroll
                    for (unsigned shift = 0; shift < 32; shift += 8 * sizeof(Item)) {
                        std::uint32_t its_class = static_cast<Item>(word >> shift);
                        if (kAll) its_class = class_of[its_class];
                        v = step(v, mine[its_class * kBanks]);
                    }
                }
            }
            lengths[(kAll ? reference * stride : 0) + candidate] = __popcll(~v);
        }
        __syncthreads();  // until all have read the tables
        if (kAll && is_first) class_of[reference_numbers[i]] = 0;
        __syncthreads();
    }
}

}  // namespace leakrepro
