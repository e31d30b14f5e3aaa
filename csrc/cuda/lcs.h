// Lengths of longest common subsequences of token ids, on a CUDA device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace leakrepro {

// Sequences back to back: number i is ids[offsets[i]] up to ids[offsets[i + 1]]. Ids are in host
// or device memory, offsets in host memory.
struct CudaSequences {
    const void* ids;
    const std::int64_t* offsets;
    std::size_t count;
};

struct CudaGroups {
    CudaSequences references, candidates;
    int width;  // bytes of an id, on both sides: 1, 2, 4 or 8
    // Group g is reference g with candidates offsets[g] up to offsets[g + 1]; with all of them
    // where there are no offsets. In host memory.
    const std::int64_t* offsets;
};

struct CudaPlace {
    int device;
    void* stream;  // a cudaStream_t of that device; null is the default one
};

// One entry of `lengths`, in host or device memory, for each pair, group by group. Works in slices,
// so that memory is bounded. Work on the stream is finished when this returns. poll() is called
// between slices, and may throw to end the work early. Throws std::runtime_error for errors of
// CUDA.
void cuda_lcs_length(const CudaGroups& groups, const CudaPlace& place,
                     const std::function<void()>& poll, std::int32_t* lengths);

}  // namespace leakrepro
