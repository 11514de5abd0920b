/* The kernel's helpers by their numbers, byte order, and the arithmetic of docs/model.md. */
#pragma once

#include "layout.h"

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static __attribute__((always_inline)) inline
#define ROLLED _Pragma("clang loop unroll(disable)")
/* Hides what the compiler knows of a number, so that it does not take out a mask that the verifier needs. */
#define OPAQUE(x) __asm__ volatile("" : "+r"(x))

/* Read again what stands in a map: the verifier knows nothing of that, either. */
#define FORGET __asm__ volatile("" ::: "memory")
/* 0, of which the verifier knows nothing: it follows every value of what it knows, and loops are many. */
#define HIDDEN(config) (*(volatile const __u64 *)&(config)->zero)

static void *(*lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*tail_call)(void *context, void *programs, __u32 number) = (void *)BPF_FUNC_tail_call;
static __u64 (*monotonic_ns)(void) = (void *)BPF_FUNC_ktime_get_ns;
static long (*load_bytes)(const void *skb, __u32 at, void *to, __u32 size) = (void *)BPF_FUNC_skb_load_bytes;
static long (*store_bytes)(void *skb, __u32 at, const void *from, __u32 size, __u64 flags) =
	(void *)BPF_FUNC_skb_store_bytes;
static long (*adjust_room)(void *skb, __s32 by, __u32 mode, __u64 flags) = (void *)BPF_FUNC_skb_adjust_room;
static long (*redirect_neigh)(__u32 ifindex, void *params, int size, __u64 flags) = (void *)BPF_FUNC_redirect_neigh;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NET16(x) __builtin_bswap16(x)
#define NET32(x) __builtin_bswap32(x)
#define NET64(x) __builtin_bswap64(x)
#else
#define NET16(x) (x)
#define NET32(x) (x)
#define NET64(x) (x)
#endif

#define GAMMA 0x9E3779B97F4A7C15ull

INLINE __u64 mix(__u64 x)
{
	x += GAMMA;
	x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
	x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
	return x ^ (x >> 31);
}

INLINE __u32 scaled(__u64 hash, __u32 count)
{
	return ((hash >> 32) * count) >> 32;
}

INLINE __u32 draw(struct state *s, __u32 count)
{
	__u64 before = s->generator;

	s->generator = before + GAMMA;
	return scaled(mix(before), count);
}

INLINE __u64 key_of(const __u64 *words)
{
	__u64 key = 0;

	for (int i = 0; i < 5; i++)
		key = mix(key ^ words[i]);
	return key;
}

INLINE __u32 ones(__u64 bits)
{
	bits -= bits >> 1 & 0x5555555555555555ull;
	bits = (bits & 0x3333333333333333ull) + (bits >> 2 & 0x3333333333333333ull);
	bits = (bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0full;
	return bits * 0x0101010101010101ull >> 56;
}

INLINE __s64 smoothed(__s64 value, __s64 sample)
{
	return value < 0 ? sample : value + ((sample - value) >> 3);
}
