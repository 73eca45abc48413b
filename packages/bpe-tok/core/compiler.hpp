// What the language has no words for.
#pragma once

#if defined(__GNUC__)
#define BPE_TOK_PREFETCH(address) __builtin_prefetch(address)
#define BPE_TOK_INLINE inline __attribute__((always_inline))
#define BPE_TOK_NOINLINE __attribute__((noinline))
#else
#define BPE_TOK_PREFETCH(address) ((void)0)
#define BPE_TOK_INLINE __forceinline
#define BPE_TOK_NOINLINE __declspec(noinline)
#endif
