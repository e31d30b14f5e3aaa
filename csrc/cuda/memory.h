// CUDA errors as exceptions, and memory of the device.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <stdexcept>
#include <string>

namespace leakrepro {

inline void check(cudaError_t status) {
    if (status == cudaSuccess) return;
    throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(status));
}

// Entries of device memory, which belong to the stream: taken and given back in its order.
template <class T>
class Buffer {
  public:
    Buffer(std::size_t size, cudaStream_t stream) : stream_(stream) {
        void* data = nullptr;
        if (size > 0) check(cudaMallocAsync(&data, size * sizeof(T), stream));
        data_ = static_cast<T*>(data);
    }
    Buffer(const T* source, std::size_t size, cudaStream_t stream) : Buffer(size, stream) {
        if (size == 0) return;
        check(cudaMemcpyAsync(data_, source, size * sizeof(T), cudaMemcpyDefault, stream));
    }
    ~Buffer() {
        if (data_ != nullptr) cudaFreeAsync(data_, stream_);  // an error shows at the next call
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    T* get() const { return data_; }

  private:
    T* data_ = nullptr;
    cudaStream_t stream_;
};

// Whether kernels can read where the pointer points.
inline bool on_device(const void* pointer) {
    if (pointer == nullptr) return false;
    cudaPointerAttributes attributes;
    check(cudaPointerGetAttributes(&attributes, pointer));
    return attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
}

// Runs a kernel of blocks of `threads` threads.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 blocks, unsigned threads, cudaStream_t stream,
            Arguments... arguments) {
    if (blocks.x == 0 || blocks.y == 0) return;
    cudaLaunchConfig_t config{};
    config.gridDim = blocks;
    config.blockDim = dim3(threads);
    config.stream = stream;
    check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...));
}

}  // namespace leakrepro
