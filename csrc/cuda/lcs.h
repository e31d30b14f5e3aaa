// The integer part of ids.h on a CUDA device: LCS lengths and measures of groups of token ids.
#pragma once

#include <cstddef>
#include <cstdint>

namespace leakrepro {

// Sequences back to back, the ids and offsets in the device's memory. Ids have no value as such:
// they are compared. Those of references must be below kMostCudaIds, or a table of them would not
// fit.
struct CudaSequences {
    const void* ids;
    const std::int64_t* offsets;
    const std::int64_t* host_offsets;  // the same in the host's memory, already checked
    std::size_t count;

    std::size_t size_of(std::size_t i) const {
        return static_cast<std::size_t>(host_offsets[i + 1] - host_offsets[i]);
    }
};
constexpr std::uint64_t kMostCudaIds = std::uint64_t{1} << 26;

struct CudaGroups {
    CudaSequences references;
    CudaSequences candidates;
    int width;                  // bytes of an id: 1, 2, 4 or 8
    const std::int64_t* groups;  // host memory; as IdGroups::offsets in ids.h
};

// A cudaStream_t, by a name that needs no CUDA header.
using CudaStream = void*;

// Both write one entry for each pair to the device's memory, in the order of ids.h, and may return
// before that is done; what follows in the stream sees it. Throw std::invalid_argument for an id of
// a reference that is too large, and CudaError when CUDA reports an error.
void cuda_lcs_length(const CudaGroups& groups, std::int32_t* lengths, CudaStream stream);
void cuda_measures(const CudaGroups& groups, const std::int32_t* lengths, double* precision,
                   double* recall, double* fmeasure, CudaStream stream);

}  // namespace leakrepro
