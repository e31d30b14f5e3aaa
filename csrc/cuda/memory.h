// CUDA errors as exceptions, and arrays in device memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

namespace leakrepro {

struct CudaError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

inline void check(cudaError_t status) {
    if (status == cudaSuccess) return;
    (void)cudaGetLastError();  // resets the error, which the next call would otherwise report again
    throw CudaError(std::string("CUDA: ") + cudaGetErrorString(status));
}

// An array in device memory; all operations are ordered by a stream.
template <class T>
class DeviceArray {
  public:
    DeviceArray(std::size_t size, cudaStream_t stream) : size_(size), stream_(stream) {
        if (size > 0) check(cudaMallocAsync(&data_, size * sizeof(T), stream));
    }
    DeviceArray(const std::vector<T>& values, cudaStream_t stream)
        : DeviceArray(values.size(), stream) {
        fill(values.data());
    }
    ~DeviceArray() {
        if (data_ != nullptr) cudaFreeAsync(data_, stream_);
    }
    DeviceArray(const DeviceArray&) = delete;
    DeviceArray& operator=(const DeviceArray&) = delete;

    T* data() const { return static_cast<T*>(data_); }
    std::size_t size() const { return size_; }

    void clear() const {
        if (size_ > 0) check(cudaMemsetAsync(data_, 0, size_ * sizeof(T), stream_));
    }
    // `from` may be changed or freed once this returns.
    void fill(const T* from) const {
        if (size_ == 0) return;
        check(cudaMemcpyAsync(data_, from, size_ * sizeof(T), cudaMemcpyHostToDevice, stream_));
        check(cudaStreamSynchronize(stream_));
    }
    // Waits for the stream.
    void copy_to(T* to) const {
        if (size_ == 0) return;
        check(cudaMemcpyAsync(to, data_, size_ * sizeof(T), cudaMemcpyDeviceToHost, stream_));
        check(cudaStreamSynchronize(stream_));
    }

  private:
    std::size_t size_;
    cudaStream_t stream_;
    void* data_ = nullptr;
};

}  // namespace leakrepro
