// What kernels.h needs of CUDA; the emulator of the tests has a file of this name.
#pragma once

#include <cuda_runtime.h>

#include "cuda/memory.h"

#define LEAKREPRO_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#define LEAKREPRO_SHARED_ARRAY(type, name, size) __shared__ type name[size]
#define LEAKREPRO_UNROLL _Pragma("unroll")

namespace leakrepro {

// Starts a kernel of this many blocks, threads a block and bytes of dynamic shared memory, of which
// 48 KiB can be had without asking.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), unsigned blocks, unsigned threads, std::size_t shared,
            cudaStream_t stream, const Arguments&... arguments) {
    kernel<<<blocks, threads, shared, stream>>>(static_cast<Parameters>(arguments)...);
    check(cudaGetLastError());
}

}  // namespace leakrepro
