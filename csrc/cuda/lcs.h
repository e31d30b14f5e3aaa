// ids.h on a CUDA device: LCS lengths and ROUGE-L of groups of token ids.
#pragma once

#include <cstddef>
#include <cstdint>

namespace leakrepro {

// Concatenated sequences, with ids and offsets in device memory. Ids of references must be below
// kMostCudaIds, because they index a table.
struct CudaSequences {
    const void* ids;
    const std::int64_t* offsets;
    const std::int64_t* host_offsets;  // a copy in host memory, already validated
    std::size_t count;

    std::size_t size_of(std::size_t i) const {
        return static_cast<std::size_t>(host_offsets[i + 1] - host_offsets[i]);
    }
};
constexpr std::uint64_t kMostCudaIds = std::uint64_t{1} << 26;

struct CudaGroups {
    CudaSequences references;
    CudaSequences candidates;
    int width;                  // bytes per id: 1, 2, 4 or 8
    const std::int64_t* groups;  // in host memory; like IdGroups::offsets in ids.h
};

// A cudaStream_t, declared without a CUDA header.
using CudaStream = void*;

// Both write one entry per pair to device memory, in the order of ids.h. They are asynchronous:
// they may return before the result is written, and later operations in the stream see it. They
// throw std::invalid_argument if an id of a reference is too large, and CudaError if CUDA reports
// an error.
void cuda_lcs_length(const CudaGroups& groups, std::int32_t* lengths, CudaStream stream);
void cuda_measures(const CudaGroups& groups, const std::int32_t* lengths, double* precision,
                   double* recall, double* fmeasure, CudaStream stream);

}  // namespace leakrepro
