// The CUDA features that kernels.h uses. The emulator of the tests has its own version of this
// file.
#pragma once

#include <cuda_runtime.h>

#include "cuda/memory.h"

#define LEAKREPRO_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#define LEAKREPRO_SHARED_ARRAY(type, name, size) __shared__ type name[size]
#define LEAKREPRO_UNROLL _Pragma("unroll")

namespace leakrepro {

// Starts a kernel with `blocks` blocks, `threads` threads per block and `shared` bytes of dynamic
// shared memory. At most 48 KiB are available without changing an attribute of the kernel.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), unsigned blocks, unsigned threads, std::size_t shared,
            cudaStream_t stream, const Arguments&... arguments) {
    kernel<<<blocks, threads, shared, stream>>>(static_cast<Parameters>(arguments)...);
    check(cudaGetLastError());
}

}  // namespace leakrepro
