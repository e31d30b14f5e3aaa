// The CUDA kernels. The tests also run this source on the host, with an emulator of CUDA.
//
// Bit vectors and classes are explained in csrc/lcs/lcs.h. Ids are first mapped to numbers: 1, 2,
// ... for ids that occur in a reference of the current slice, 0 for all others.
#pragma once

#include <cstddef>
#include <cstdint>

namespace leakrepro {
namespace cuda {

constexpr unsigned kLanes = 32;             // lanes per warp
constexpr unsigned kShortTokens = 64;       // maximum tokens of a reference that fits one word
constexpr unsigned kThreads = 256;          // threads per block
constexpr unsigned kTilesPerBlock = 64;     // tiles of one reference per block
constexpr unsigned kCopies = 16;            // copies of each mask, one per pair of memory banks
constexpr unsigned kPerChunk = 8;           // numbers of 2 bytes that one lane loads at once
constexpr unsigned kBandWords = 2 * kLanes; // words per band of a long reference, two per lane
constexpr std::size_t kMaskBytes = (kShortTokens + 1) * kCopies * sizeof(std::uint64_t);

struct alignas(16) Chunk {
    std::uint16_t numbers[kPerChunk];
};

struct Ids {
    const void* ids;
    const std::int64_t* offsets;
    int width;

    __device__ std::uint64_t operator[](std::int64_t i) const {
        switch (width) {
            case 1: return static_cast<const std::uint8_t*>(ids)[i];
            case 2: return static_cast<const std::uint16_t*>(ids)[i];
            case 4: return static_cast<const std::uint32_t*>(ids)[i];
            default: return static_cast<const std::uint64_t*>(ids)[i];
        }
    }
};

__device__ inline std::uint64_t thread_number() {
    return std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}

__device__ inline std::uint64_t thread_count() { return std::uint64_t{gridDim.x} * blockDim.x; }

// highest[0] = 1 + the largest of the ids at positions `first` to `last` - 1.
__global__ void find_highest(Ids ids, std::int64_t first, std::int64_t last,
                             unsigned long long* highest) {
    unsigned long long mine = 0;
    for (std::int64_t i = first + static_cast<std::int64_t>(thread_number()); i < last;
         i += static_cast<std::int64_t>(thread_count())) {
        const unsigned long long next = ids[i] + 1;
        // For the largest possible id, next overflows to 0.
        mine = next == 0 ? ~0ull : (next > mine ? next : mine);
    }
    if (mine > 0) atomicMax(highest, mine);
}

// Numbers the ids of some references in any order and sets *count to the number of different ids.
// Their entries in `numbers` must be 0 before the call.
__global__ void number_ids(Ids references, const std::uint32_t* chosen, std::uint32_t chosen_count,
                           std::uint32_t* numbers, unsigned int* count) {
    for (std::uint32_t r = blockIdx.x; r < chosen_count; r += gridDim.x) {
        const std::int64_t* offset = references.offsets + chosen[r];
        for (std::int64_t i = offset[0] + threadIdx.x; i < offset[1]; i += blockDim.x) {
            std::uint32_t* const number = numbers + references[i];
            if (atomicCAS(number, 0u, 0xFFFFFFFFu) == 0) *number = atomicAdd(count, 1u) + 1;
        }
    }
}

// Resets the entries of `numbers` that number_ids has set.
__global__ void forget_ids(Ids references, const std::uint32_t* chosen, std::uint32_t chosen_count,
                           std::uint32_t* numbers) {
    for (std::uint32_t r = blockIdx.x; r < chosen_count; r += gridDim.x) {
        const std::int64_t* offset = references.offsets + chosen[r];
        for (std::int64_t i = offset[0] + threadIdx.x; i < offset[1]; i += blockDim.x) {
            numbers[references[i]] = 0;
        }
    }
}

// The candidates of a slice. The first candidate of group g is first[g], at position start[g] of
// the slice.
struct SliceGroups {
    const std::uint32_t* first;
    const std::uint32_t* start;
    std::uint32_t count;
};

__device__ inline std::uint32_t chunks_of(const Ids& candidates, std::uint32_t candidate) {
    const std::int64_t* offset = candidates.offsets + candidate;
    return static_cast<std::uint32_t>((offset[1] - offset[0] + kPerChunk - 1) / kPerChunk);
}

// Writes keys that sort the candidates by group, and by decreasing length within a group.
__global__ void make_keys(Ids candidates, SliceGroups groups, std::uint32_t count,
                          std::uint64_t* keys, std::uint32_t* order) {
    for (std::uint64_t i = thread_number(); i < count; i += thread_count()) {
        std::uint32_t low = 0, high = groups.count;  // finds the last group with start <= i
        while (high - low > 1) {
            const std::uint32_t middle = (low + high) / 2;
            (groups.start[middle] <= i ? low : high) = middle;
        }
        const auto candidate =
            static_cast<std::uint32_t>(groups.first[low] + (i - groups.start[low]));
        keys[i] = std::uint64_t{low} << 32 | (0xFFFFFFFFu - chunks_of(candidates, candidate));
        order[i] = candidate;
    }
}

// Up to 32 candidates of one group with similar lengths: order[start] to order[start + count - 1].
struct Tile {
    std::uint32_t start;
    std::uint32_t count;
};

// sizes[t] = number of chunks of tile t.
__global__ void measure_tiles(Ids candidates, const Tile* tiles, std::uint32_t count,
                              const std::uint32_t* order, std::uint64_t* sizes) {
    for (std::uint64_t t = thread_number(); t < count; t += thread_count()) {
        sizes[t] = std::uint64_t{kLanes} * chunks_of(candidates, order[tiles[t].start]);
    }
}

// Writes candidates as chunks of numbers. Chunk c of the candidate in lane l is
// chunks[starts[tile] + c * 32 + l], so that a warp loads 512 consecutive bytes.
__global__ void write_chunks(Ids candidates, const Tile* tiles, std::uint32_t count,
                             const std::uint32_t* order, const std::uint64_t* starts,
                             const std::uint32_t* numbers, std::uint64_t highest, Chunk* chunks) {
    const unsigned lane = threadIdx.x % kLanes;
    for (std::uint64_t t = thread_number() / kLanes; t < count; t += thread_count() / kLanes) {
        const bool is_there = lane < tiles[t].count;
        const std::int64_t* offset =
            candidates.offsets + (is_there ? order[tiles[t].start + lane] : 0);
        const std::int64_t end = is_there ? offset[1] : 0;
        std::int64_t i = is_there ? offset[0] : 0;
        for (std::uint64_t place = starts[t] + lane; place < starts[t + 1]; place += kLanes) {
            Chunk chunk;
            for (unsigned k = 0; k < kPerChunk; ++k, ++i) {
                const std::uint64_t id = i < end ? candidates[i] : highest;
                chunk.numbers[k] = id < highest ? static_cast<std::uint16_t>(numbers[id]) : 0;
            }
            chunks[place] = chunk;
        }
    }
}

// The work of one block: some tiles against one reference.
struct Work {
    std::uint32_t reference;
    std::uint32_t first_tile, last_tile;
};

// The work of each block: work[blockIdx.x]. With a list of references, all of the work is done for
// each of them.
struct WorkList {
    const Work* work;
    const std::uint32_t* references;
    std::uint32_t count;

    __device__ Work mine() const {
        Work mine = work[blockIdx.x % count];
        if (references != nullptr) mine.reference = references[blockIdx.x / count];
        return mine;
    }
};

// (v + (v & m)) | (v & ~m)
__device__ inline std::uint64_t step(std::uint64_t v, std::uint64_t m) {
    return (v + (v & m)) | (v & ~m);
}

// One thread per candidate. Shared memory has kCopies copies of each mask, to avoid bank conflicts
// between the lanes of a half-warp (which load 8 bytes each), followed by the class of each number.
__global__ void match_short(Ids references, const std::uint32_t* numbers,
                            std::uint32_t most_numbers, WorkList list, const Tile* tiles,
                            const std::uint32_t* order,
                            const std::uint64_t* starts, const Chunk* chunks,
                            std::uint64_t per_reference, std::int32_t* lengths) {
    LEAKREPRO_SHARED(shared);
    auto* const masks = reinterpret_cast<std::uint64_t*>(shared);
    auto* const class_of = reinterpret_cast<std::uint8_t*>(shared + kMaskBytes);
    LEAKREPRO_SHARED_ARRAY(std::uint32_t, reference, kShortTokens);

    const Work work = list.mine();
    const std::int64_t* offset = references.offsets + work.reference;
    const auto size = static_cast<std::uint32_t>(offset[1] - offset[0]);
    for (std::uint32_t i = threadIdx.x; i <= most_numbers; i += blockDim.x) class_of[i] = 0;
    if (threadIdx.x < size) reference[threadIdx.x] = numbers[references[offset[0] + threadIdx.x]];
    __syncthreads();
    // Class c + 1 is the token whose first occurrence is at position c; other classes are unused.
    if (threadIdx.x < size) {
        std::uint32_t first = 0;
        while (reference[first] != reference[threadIdx.x]) ++first;
        if (first == threadIdx.x) {
            class_of[reference[first]] = static_cast<std::uint8_t>(first + 1);
        }
    }
    for (std::uint32_t i = threadIdx.x; i < (size + 1) * kCopies; i += blockDim.x) {
        const std::uint32_t its_class = i / kCopies;
        std::uint64_t mask = 0;
        for (std::uint32_t j = 0; j < size && its_class > 0; ++j) {
            mask |= std::uint64_t{reference[j] == reference[its_class - 1]} << j;
        }
        masks[i] = mask;
    }
    __syncthreads();

    const unsigned lane = threadIdx.x % kLanes;
    const std::uint64_t* const mine = masks + lane % kCopies;
    for (std::uint32_t t = work.first_tile + threadIdx.x / kLanes; t < work.last_tile;
         t += blockDim.x / kLanes) {
        std::uint64_t v = ~std::uint64_t{0};
        for (std::uint64_t place = starts[t] + lane; place < starts[t + 1]; place += kLanes) {
            const Chunk chunk = chunks[place];
            LEAKREPRO_UNROLL
            for (unsigned k = 0; k < kPerChunk; ++k) {
                v = step(v, mine[class_of[chunk.numbers[k]] * kCopies]);
            }
        }
        if (lane < tiles[t].count) {
            lengths[work.reference * per_reference + order[tiles[t].start + lane]] = __popcll(~v);
        }
    }
}

// Writes the numbers of all tokens of some candidates, 4 bytes each.
__global__ void write_numbers(Ids candidates, std::int64_t first, std::int64_t last,
                              const std::uint32_t* numbers, std::uint64_t highest,
                              std::uint32_t* out) {
    for (std::int64_t i = first + static_cast<std::int64_t>(thread_number()); i < last;
         i += static_cast<std::int64_t>(thread_count())) {
        const std::uint64_t id = candidates[i];
        out[i - first] = id < highest ? numbers[id] : 0;
    }
}

// Writes the masks of `count` tokens of a reference, starting at position `begin`. The mask of
// number n is in the kBandWords words from n * kBandWords on. All must be zero before the call.
__global__ void write_masks(Ids references, std::int64_t begin, std::uint32_t count,
                            const std::uint32_t* numbers, unsigned long long* masks) {
    for (std::uint64_t i = thread_number(); i < count; i += thread_count()) {
        const std::uint32_t number = numbers[references[begin + static_cast<std::int64_t>(i)]];
        atomicOr(masks + std::uint64_t{number} * kBandWords + i / 64, 1ull << (i % 64));
    }
}

// One warp per candidate: lane l has words 2 l and 2 l + 1 of the bit vector of one band. A word
// generates a carry if its sum overflows, and propagates one if its sum is all ones; one addition
// of the two ballots finds all carries. carries[j] is the carry into the band at token j and is
// replaced by the carry out of it. `carries` is null if the reference has only one band.
__global__ void match_long(Ids candidates, std::uint32_t first, std::uint32_t count,
                           const std::uint32_t* tokens, const std::uint64_t* masks,
                           std::uint8_t* carries, std::int32_t* lengths) {
    constexpr std::uint64_t kOnes = ~std::uint64_t{0};
    const unsigned lane = threadIdx.x % kLanes;
    const std::int64_t base = candidates.offsets[first];
    for (std::uint64_t c = thread_number() / kLanes; c < count; c += thread_count() / kLanes) {
        const std::int64_t begin = candidates.offsets[first + c] - base;
        const std::int64_t end = candidates.offsets[first + c + 1] - base;
        std::uint64_t v0 = kOnes, v1 = kOnes;
        for (std::int64_t j = begin; j < end; ++j) {
            const std::uint32_t number = tokens[j];
            const std::uint64_t carry_in = carries == nullptr ? 0 : carries[j];
            if (number == 0 && carry_in == 0) continue;  // changes nothing
            const std::uint64_t* const row = masks + std::uint64_t{number} * kBandWords + 2 * lane;
            const std::uint64_t m0 = row[0], m1 = row[1];
            std::uint64_t s0 = v0 + (v0 & m0), s1 = v1 + (v1 & m1);
            const std::uint64_t over0 = s0 < v0;
            bool gives = s1 < v1;
            s1 += over0;
            gives = gives || s1 < over0;
            const std::uint64_t given = __ballot_sync(0xFFFFFFFFu, gives);
            const std::uint64_t passing = __ballot_sync(0xFFFFFFFFu, s0 == kOnes && s1 == kOnes);
            const std::uint64_t rippled = (given << 1 | carry_in) + passing;
            const std::uint64_t takes = (rippled ^ passing) >> lane & 1;
            s0 += takes;
            s1 += s0 < takes;
            v0 = s0 | (v0 & ~m0);
            v1 = s1 | (v1 & ~m1);
            if (carries != nullptr) {
                __syncwarp();  // all lanes have read the carry
                if (lane == 0) carries[j] = static_cast<std::uint8_t>(rippled >> kLanes & 1);
            }
        }
        int zeros = __popcll(~v0) + __popcll(~v1);
        for (int distance = kLanes / 2; distance > 0; distance /= 2) {
            zeros += __shfl_down_sync(0xFFFFFFFFu, zeros, distance);
        }
        if (lane == 0) lengths[c] += zeros;
    }
}

// The same computation as Measures::write in rouge.cpp.
__global__ void write_measures(const std::int64_t* reference_offsets,
                               const std::int64_t* candidate_offsets, const std::int64_t* groups,
                               std::uint64_t references, std::uint64_t candidates,
                               std::uint64_t pairs, const std::int32_t* lengths, double* precision,
                               double* recall, double* fmeasure) {
    for (std::uint64_t i = thread_number(); i < pairs; i += thread_count()) {
        std::uint64_t reference = i / candidates;
        if (groups != nullptr) {  // finds the last group with start <= i
            std::uint64_t low = 0, high = references;
            while (high - low > 1) {
                const std::uint64_t middle = (low + high) / 2;
                (groups[middle] <= static_cast<std::int64_t>(i) ? low : high) = middle;
            }
            reference = low;
        }
        const std::uint64_t candidate = groups != nullptr ? i : i % candidates;
        const std::int64_t ours = reference_offsets[reference + 1] - reference_offsets[reference];
        const std::int64_t theirs =
            candidate_offsets[candidate + 1] - candidate_offsets[candidate];
        const double p = lengths[i] / static_cast<double>(theirs > 0 ? theirs : 1);
        const double r = lengths[i] / static_cast<double>(ours > 0 ? ours : 1);
        const double sum = p + r;
        precision[i] = p;
        recall[i] = r;
        fmeasure[i] = 2.0 * p * r / (sum > 0.0 ? sum : 1.0);
    }
}

}  // namespace cuda
}  // namespace leakrepro
