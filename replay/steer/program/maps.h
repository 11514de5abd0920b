/* The maps. The loader gives those without a size their number of entries. */
#pragma once

#include "parse.h"

struct map {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 flags;
};

#define MOST_SACKS 4

struct prefix {
	__u32 length;
	__u8 address[16];     /* IPv4 as ::ffff:a.b.c.d */
};

#define TABLE(name, record) \
	struct map SECTION("maps") name = {BPF_MAP_TYPE_ARRAY, 4, sizeof(struct record), 0, BPF_F_MMAPABLE}
#define PREFIXES(name) \
	struct map SECTION("maps") name = {BPF_MAP_TYPE_LPM_TRIE, sizeof(struct prefix), 4, 0, BPF_F_NO_PREALLOC}

TABLE(settings, config);
TABLE(states, state);
TABLE(counters, counter);
TABLE(pairs, pair);
TABLE(headers, header);
TABLE(flows, flow);
TABLE(outstandings, outstanding);
TABLE(records, record);

enum { IN_ORDER, THROUGH_FIRST, THROUGH_SECOND };

/* An acknowledgement, with its SACK blocks, and how far it has been read. */
struct answer {
	__u32 sacks;
	__u32 first[MOST_SACKS];
	__u32 beyond[MOST_SACKS];
	__u32 phase;
	__u32 place;
	__u32 before;
	__u32 measures;
	__u32 spare;
};

/* What is known of a packet to steer. */
struct steered {
	__u64 key;
	__u64 now;
	__u64 barred;         /* slots that are suspected, a bit for each */
	__s64 least;
	__u32 best;
	__u32 equals;
	__u32 skip;
	__u32 place;          /* of its flow; NOWHERE: it has none yet */
	__u32 pair;
	__u32 slot;
};

/* What one packet is worked on with, on its processor. */
struct scratch {
	struct packet packet;
	struct steered steered;
	struct answer answer;
	__u32 rounds;
	__u32 holds;          /* whether it holds the lock */
};

struct map SECTION("maps") scratches = {BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(struct scratch), 1, 0};
/* Where an entry goes on, after what it has read, or to take more steps. */
struct map SECTION("maps") entries = {BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 2, 0};
PREFIXES(sources);
PREFIXES(targets);

INLINE void *row(void *table, __u32 number)
{
	return lookup(table, &number);
}
