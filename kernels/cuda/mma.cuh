/* lightforce: matrix instructions and asynchronous copies of Ampere and newer GPUs
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CUDA_MMA_CUH
#define LF_CUDA_MMA_CUH

#include <stdint.h>

#include "kernels/cuda/common.cuh"

/* The instructions are described in NVIDIA's PTX ISA: cp.async, ldmatrix, mma.m16n8k16. */

/* 16 bytes to shared memory, zeros where not `there`; `from` is a valid address all the same. */
__device__ __forceinline__ void
lf_copy_async (void *to, const void *from, bool there)
{
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<uint32_t> (__cvta_generic_to_shared (to))),
               "l"(from), "r"(there ? 16 : 0)
               : "memory");
}

__device__ __forceinline__ void
lf_copy_commit ()
{
  asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Until at most N groups of copies are not done. */
template <int N = 0>
__device__ __forceinline__ void
lf_copy_wait ()
{
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* Four 8 x 8 matrices of 16-bit floats; lane l gives the address of row l % 8 of matrix l / 8, and
 * gets of each the columns 2 (l % 4) and the next of row l / 4. */
__device__ __forceinline__ void
lf_load_matrix (uint32_t (&x)[4], const void *row)
{
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(static_cast<uint32_t> (__cvta_generic_to_shared (row)))
               : "memory");
}

__device__ __forceinline__ void
lf_load_matrix_transposed (uint32_t (&x)[4], const void *row)
{
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(static_cast<uint32_t> (__cvta_generic_to_shared (row)))
               : "memory");
}

/* d (16, 8) += a (16, 16) b (16, 8) */
__device__ __forceinline__ void
lf_mma (float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
               "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* The same for a and b of type T: LfBf16 or __half. */
template <typename T>
__device__ __forceinline__ void
lf_mma_of (float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
  lf_mma (d, a, b0, b1);
}

template <>
__device__ __forceinline__ void
lf_mma_of<__half> (float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
               "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif
