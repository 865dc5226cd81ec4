/* lightforce: Hopper's matrix instructions, copy engine and barriers
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CUDA_HOPPER_CUH
#define LF_CUDA_HOPPER_CUH

#include <cuda.h>

#include "kernels/cuda/common.cuh"

/* The instructions are described in NVIDIA's PTX ISA 8.0 and newer: mbarrier, cp.async.bulk.tensor,
 * wgmma. Shared memory tiles have rows of 128 bytes, 16-byte pieces swizzled as the copy
 * engine's 128-byte mode has them. */

/* ---------------------------------------------------------------- barriers */

__device__ __forceinline__ uint32_t
lf_shared_address (const void *pointer)
{
  return static_cast<uint32_t> (__cvta_generic_to_shared (pointer));
}

__device__ __forceinline__ void
lf_barrier_init (uint64_t *barrier, int count)
{
  asm volatile(
      "mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(lf_shared_address (barrier)), "r"(count));
}

__device__ __forceinline__ void
lf_barrier_arrive (uint64_t *barrier)
{
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(lf_shared_address (barrier))
               : "memory");
}

/* Arrives, and lets the phase end only when `bytes` more have come from the copy engine. */
__device__ __forceinline__ void
lf_barrier_expect (uint64_t *barrier, int bytes)
{
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(lf_shared_address (barrier)),
      "r"(bytes)
      : "memory");
}

__device__ __forceinline__ void
lf_barrier_wait (uint64_t *barrier, int parity)
{
  asm volatile("{\n"
               ".reg .pred done;\n"
               "again:\n"
               "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
               "@done bra.uni ready;\n"
               "bra.uni again;\n"
               "ready:\n"
               "}\n" ::"r"(lf_shared_address (barrier)),
               "r"(parity)
               : "memory");
}

/* Barriers of warps by number, for `threads` in all. */
__device__ __forceinline__ void
lf_named_sync (int number, int threads)
{
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

__device__ __forceinline__ void
lf_named_arrive (int number, int threads)
{
  asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

/* ------------------------------------------------------------- copy engine */

__device__ __forceinline__ void
lf_tma_load_2d (void *dst, const CUtensorMap *map, uint64_t *barrier, int x, int y)
{
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
               " [%0], [%1, {%3, %4}], [%2];" ::"r"(lf_shared_address (dst)),
               "l"(map), "r"(lf_shared_address (barrier)), "r"(x), "r"(y)
               : "memory");
}

__device__ __forceinline__ void
lf_tma_load_3d (void *dst, const CUtensorMap *map, uint64_t *barrier, int x, int y, int z)
{
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
               " [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(lf_shared_address (dst)),
               "l"(map), "r"(lf_shared_address (barrier)), "r"(x), "r"(y), "r"(z)
               : "memory");
}

/* ------------------------------------------------------------------- wgmma */

/* Of a swizzled tile: `leading` and `stride` in bytes. */
__device__ __forceinline__ uint64_t
lf_tile_descriptor_of (uint32_t tile, int leading, int stride)
{
  return (uint64_t) ((tile & 0x3ffff) >> 4) | (uint64_t) (leading >> 4) << 16
         | (uint64_t) (stride >> 4) << 32 | (uint64_t) 1 << 62;
}

__device__ __forceinline__ uint64_t
lf_tile_descriptor (const void *tile, int leading, int stride)
{
  return lf_tile_descriptor_of (lf_shared_address (tile), leading, stride);
}

/* The same tile, from `bytes` further on; a multiple of 16. */
__device__ __forceinline__ uint64_t
lf_descriptor_at (uint64_t descriptor, int bytes)
{
  return (descriptor & 0xffffffff00000000u) | ((uint32_t) descriptor + (bytes >> 4));
}

__device__ __forceinline__ void
lf_wgmma_fence ()
{
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void
lf_wgmma_commit ()
{
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* Until at most N groups are not done. */
template <int N>
__device__ __forceinline__ void
lf_wgmma_wait ()
{
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

/* d (64, 64) = a b^T + (add ? d : 0) for 16 of the inner dimension, a and b K-major */
__device__ __forceinline__ void
lf_wgmma_n64_ss (float (&d)[32], uint64_t a, uint64_t b, int add)
{
  asm volatile("{\n"
               ".reg .pred p;\n"
               "setp.ne.b32 p, %34, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
               "%0, %1, %2, %3, %4, %5, %6, %7, "
               "%8, %9, %10, %11, %12, %13, %14, %15, "
               "%16, %17, %18, %19, %20, %21, %22, %23, "
               "%24, %25, %26, %27, %28, %29, %30, %31"
               "}, %32, %33, p, 1, 1, 0, 0;\n"
               "}\n"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
               "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]),
               "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]),
               "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),
               "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]),
               "+f"(d[31])
               : "l"(a), "l"(b), "r"(add));
}

/* d (64, 64) += a b for 16 of the inner dimension, a in registers, b MN-major */
__device__ __forceinline__ void
lf_wgmma_n64_rs (float (&d)[32], const uint32_t (&a)[4], uint64_t b)
{
  asm volatile("{\n"
               "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
               "%0, %1, %2, %3, %4, %5, %6, %7, "
               "%8, %9, %10, %11, %12, %13, %14, %15, "
               "%16, %17, %18, %19, %20, %21, %22, %23, "
               "%24, %25, %26, %27, %28, %29, %30, %31"
               "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 1;\n"
               "}\n"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
               "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]),
               "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]),
               "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),
               "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]),
               "+f"(d[31])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

/* d (64, 128) = a b^T + (add ? d : 0) for 16 of the inner dimension, a and b K-major */
__device__ __forceinline__ void
lf_wgmma_n128_ss (float (&d)[64], uint64_t a, uint64_t b, int add)
{
  asm volatile("{\n"
               ".reg .pred p;\n"
               "setp.ne.b32 p, %66, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
               "%0, %1, %2, %3, %4, %5, %6, %7, "
               "%8, %9, %10, %11, %12, %13, %14, %15, "
               "%16, %17, %18, %19, %20, %21, %22, %23, "
               "%24, %25, %26, %27, %28, %29, %30, %31, "
               "%32, %33, %34, %35, %36, %37, %38, %39, "
               "%40, %41, %42, %43, %44, %45, %46, %47, "
               "%48, %49, %50, %51, %52, %53, %54, %55, "
               "%56, %57, %58, %59, %60, %61, %62, %63"
               "}, %64, %65, p, 1, 1, 0, 0;\n"
               "}\n"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
               "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]),
               "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]),
               "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),
               "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]),
               "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]),
               "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]),
               "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
               "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]),
               "+f"(d[55]), "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]),
               "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
               : "l"(a), "l"(b), "r"(add));
}

/* d (64, 128) += a b for 16 of the inner dimension, a in registers, b MN-major */
__device__ __forceinline__ void
lf_wgmma_n128_rs (float (&d)[64], const uint32_t (&a)[4], uint64_t b)
{
  asm volatile("{\n"
               "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
               "%0, %1, %2, %3, %4, %5, %6, %7, "
               "%8, %9, %10, %11, %12, %13, %14, %15, "
               "%16, %17, %18, %19, %20, %21, %22, %23, "
               "%24, %25, %26, %27, %28, %29, %30, %31, "
               "%32, %33, %34, %35, %36, %37, %38, %39, "
               "%40, %41, %42, %43, %44, %45, %46, %47, "
               "%48, %49, %50, %51, %52, %53, %54, %55, "
               "%56, %57, %58, %59, %60, %61, %62, %63"
               "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;\n"
               "}\n"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
               "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]),
               "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]),
               "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),
               "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]),
               "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]),
               "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]),
               "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
               "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]),
               "+f"(d[55]), "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]),
               "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

#endif
