/* Clears the vector registers after work on a secret. They keep the last data that was moved or computed, and
 * code that saves registers (lazy binding of a function, a signal, a context switch) would write it to a stack. */
#ifndef SSO_REGISTERS_H
#define SSO_REGISTERS_H

#if defined(__x86_64__)
#include <immintrin.h>

#define CLEAR_4(a, b, c, d)                                                                                       \
    "vpxorq %%zmm" #a ", %%zmm" #a ", %%zmm" #a "\n\tvpxorq %%zmm" #b ", %%zmm" #b ", %%zmm" #b "\n\t"              \
    "vpxorq %%zmm" #c ", %%zmm" #c ", %%zmm" #c "\n\tvpxorq %%zmm" #d ", %%zmm" #d ", %%zmm" #d "\n\t"

/* Registers 16 to 31 exist only with AVX-512; the C library uses them to copy memory. */
static __attribute__((target("avx512f"))) void registers_clear_avx512(void)
{
    __asm__ volatile(CLEAR_4(16, 17, 18, 19) CLEAR_4(20, 21, 22, 23) CLEAR_4(24, 25, 26, 27) CLEAR_4(28, 29, 30, 31)
                     "vzeroall" ::
                         : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                           "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20",
                           "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30",
                           "xmm31");
}

static __attribute__((target("avx"))) void registers_clear_avx(void) { _mm256_zeroall(); }

static void registers_clear_sse(void)
{
    __asm__ volatile("pxor %%xmm0, %%xmm0\n\tpxor %%xmm1, %%xmm1\n\tpxor %%xmm2, %%xmm2\n\tpxor %%xmm3, %%xmm3\n\t"
                     "pxor %%xmm4, %%xmm4\n\tpxor %%xmm5, %%xmm5\n\tpxor %%xmm6, %%xmm6\n\tpxor %%xmm7, %%xmm7\n\t"
                     "pxor %%xmm8, %%xmm8\n\tpxor %%xmm9, %%xmm9\n\tpxor %%xmm10, %%xmm10\n\tpxor %%xmm11, %%xmm11\n\t"
                     "pxor %%xmm12, %%xmm12\n\tpxor %%xmm13, %%xmm13\n\tpxor %%xmm14, %%xmm14\n\tpxor %%xmm15, %%xmm15" ::
                         : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                           "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

static void (*registers_clear)(void) = registers_clear_sse;

/* Find out which registers this CPU has; call this once. */
static void registers_find(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f"))
        registers_clear = registers_clear_avx512;
    else if (__builtin_cpu_supports("avx"))
        registers_clear = registers_clear_avx;
}

#elif defined(__aarch64__)

static void registers_clear(void)
{
    __asm__ volatile("movi v0.2d, #0\n\tmovi v1.2d, #0\n\tmovi v2.2d, #0\n\tmovi v3.2d, #0\n\tmovi v4.2d, #0\n\t"
                     "movi v5.2d, #0\n\tmovi v6.2d, #0\n\tmovi v7.2d, #0\n\tmovi v16.2d, #0\n\tmovi v17.2d, #0\n\t"
                     "movi v18.2d, #0\n\tmovi v19.2d, #0\n\tmovi v20.2d, #0\n\tmovi v21.2d, #0\n\tmovi v22.2d, #0\n\t"
                     "movi v23.2d, #0\n\tmovi v24.2d, #0\n\tmovi v25.2d, #0\n\tmovi v26.2d, #0\n\tmovi v27.2d, #0\n\t"
                     "movi v28.2d, #0\n\tmovi v29.2d, #0\n\tmovi v30.2d, #0\n\tmovi v31.2d, #0" ::
                         : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20", "v21",
                           "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
}

static void registers_find(void) {}

#else

static void registers_clear(void) {}
static void registers_find(void) {}

#endif

#endif
