// As much of CUDA as csrc/cuda uses, on the host: memory is the host's, a stream is in order, and
// what a kernel needs is in emulator.h. Freed and fresh memory holds garbage.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>

enum cudaError_t { cudaSuccess, cudaErrorMemoryAllocation };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
using cudaStream_t = struct CUstream_st*;

inline const char* cudaGetErrorString(cudaError_t) { return "out of memory"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaMallocAsync(void** data, std::size_t size, cudaStream_t) {
    *data = std::malloc(size);
    if (*data == nullptr) return cudaErrorMemoryAllocation;
    std::memset(*data, 0xCD, size);
    return cudaSuccess;
}
inline cudaError_t cudaFreeAsync(void* data, cudaStream_t) {
    std::free(data);
    return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* data, int value, std::size_t size, cudaStream_t) {
    std::memset(data, value, size);
    return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t size, cudaMemcpyKind,
                                   cudaStream_t) {
    std::memcpy(to, from, size);
    return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
