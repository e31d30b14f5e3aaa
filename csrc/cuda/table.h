// Which ids the references have: tables from an id to the first place that has it.
//
// Open addressing with linear probing. A slot holds a position in `ids` plus one, or 0; the keys
// are the ids at those positions, so that ids of all types and values are compared in full. Tables
// have twice as many slots as tokens, and so always an empty one.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace leakrepro {

// References of a slice, back to back: number r has the positions offsets[r] to offsets[r + 1].
// Its table has the slots twice as far: 2 * offsets[r] to 2 * offsets[r + 1].
template <class Id>
struct References {
    const Id* ids;
    const std::int64_t* offsets;
    std::int32_t count;
};

// Slots of one table, and the ids that they point to.
template <class Id>
struct Table {
    std::uint32_t* slots;
    std::uint32_t size;
    const Id* ids;

    __device__ std::uint32_t home(Id id) const {
        const std::uint64_t mixed = static_cast<std::uint64_t>(id) * 0x9E3779B97F4A7C15u;
        return __umulhi(static_cast<std::uint32_t>(mixed >> 32), size);
    }

    __device__ std::uint32_t next(std::uint32_t slot) const {
        return slot + 1 == size ? 0 : slot + 1;
    }

    __device__ void insert(std::uint32_t position) const {
        const Id id = ids[position];
        for (std::uint32_t slot = home(id);; slot = next(slot)) {
            const std::uint32_t found = atomicCAS(slots + slot, 0u, position + 1);
            if (found == 0) return;
            if (ids[found - 1] == id) {
                atomicMin(slots + slot, position + 1);
                return;
            }
        }
    }

    // The first position of the id plus one, or 0.
    __device__ std::uint32_t find(Id id) const {
        if (size == 0) return 0;
        for (std::uint32_t slot = home(id);; slot = next(slot)) {
            const std::uint32_t found = slots[slot];
            if (found == 0 || ids[found - 1] == id) return found;
        }
    }
};

// The table of one reference, or one of all references of the slice: the first where `own`.
template <class Id>
__device__ Table<Id> table_of(const References<Id>& references, std::uint32_t* slots,
                              std::int32_t reference, bool own) {
    const std::int64_t begin = own ? references.offsets[reference] : 0;
    const std::int64_t end = references.offsets[own ? reference + 1 : references.count];
    return {slots + 2 * begin, static_cast<std::uint32_t>(2 * (end - begin)), references.ids};
}

// A block a reference. Slots are zero before.
template <class Id>
__global__ void fill_tables(References<Id> references, std::uint32_t* slots, bool own) {
    const Table<Id> table =
        table_of(references, slots, static_cast<std::int32_t>(blockIdx.x), own);
    const std::int64_t end = references.offsets[blockIdx.x + 1];
    for (std::int64_t i = references.offsets[blockIdx.x] + threadIdx.x; i < end; i += blockDim.x) {
        table.insert(static_cast<std::uint32_t>(i));
    }
}

// numbers[i] is the first position of the id at position i, plus one: equal for equal ids.
template <class Id>
__global__ void number_references(References<Id> references, std::uint32_t* slots, bool own,
                                  std::uint32_t* numbers) {
    const Table<Id> table =
        table_of(references, slots, static_cast<std::int32_t>(blockIdx.x), own);
    const std::int64_t end = references.offsets[blockIdx.x + 1];
    for (std::int64_t i = references.offsets[blockIdx.x] + threadIdx.x; i < end; i += blockDim.x) {
        numbers[i] = table.find(references.ids[i]);
    }
}

}  // namespace leakrepro
