/* What the program and its loader share: tables as arrays in memory, which Python maps and reads as records.
 *
 * segcast/replay/steer/layout.py says the same for Python; a test compares them. Every field is aligned to its size.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#define MOST_SLOTS 64
#define WAYS 8
#define NOWHERE 0xffffffffu
#define UNKNOWN (-1ll)

/* Config.policy */
enum { HOST_ECMP, RANDOM, INFLIGHT, ROUND_ROBIN, TWO_CHOICES };
/* Config.granularity */
enum { PER_FLOW, PER_FLOWLET, PER_PACKET };
/* Config.flags */
enum {
	BY_RTT = 1,         /* the timeout follows the smoothed round trip */
	DRAINED = 2,        /* a flowlet starts as well where nothing of the flow is awaited */
	READS_SACK = 4,
	COUNTS_BARE = 8,    /* segments that nobody acknowledges are counted, too, until they time out */
	COPIES_HOPS = 16,   /* the outer hop limit is the inner one */
	PACKET_CLOCK = 32,  /* the time is the packet's own */
	LOGS = 64,
};

struct config {
	__u64 timeout_ns;
	__u64 low_ns;
	__u64 high_ns;
	__u64 times_permille;
	__u64 loss_timeout_ns;
	__u64 suspect_for_ns;
	__u64 mixed_seed;
	__u32 suspect_after;
	__u32 policy;
	__u32 granularity;
	__u32 flags;
	__u32 enabled;
	__u32 mtu_bytes;
	__u32 minimum_frame_bytes;
	__u32 targets;
	__u32 bucket_mask;
	__u32 outstanding_mask;
	__u32 log_mask;
	__u32 spare;
	__u64 zero;           /* always: a number that the verifier does not know */
};

/* What was done with packets and acknowledgements, each by one. */
struct tally {
	__u64 steered;
	__u64 steered_bytes;
	__u64 acknowledged;   /* entries taken off the count by an acknowledgement */
	__u64 timed_out;
	__u64 flowlets;
	__u64 path_changes;
	__u64 flows;
	__u64 evicted;        /* flows forgotten for want of room */
	__u64 not_targeted;
	__u64 not_touched;    /* link scope, multicast, neighbour discovery, packets with a routing header */
	__u64 too_long;       /* left alone: with its header it would exceed the MTU */
	__u64 push_failed;
	__u64 dropped;        /* the header was begun and could not be finished */
	__u64 contended;      /* left as it was, since the lock was held too long */
	__u64 uncounted;      /* steered, but no room to await its acknowledgement */
	__u64 behind;         /* more was due than one packet may take care of */
	__u64 log_lost;
	__u64 resets;
};

struct state {
	__u32 lock;
	__u32 last_slot;
	__u64 generator;
	__u64 next_flowlet;
	__u64 suspects_until_ns;
	__u64 first_outstanding;
	__u64 next_outstanding;
	__u64 log_written;
	__u64 log_read;
	__u64 last_flowlet;
	struct tally tally;
};

struct counter {
	__s64 inflight_bytes;
	__u64 suspect_until_ns;
	__u64 silent;
	__u64 made;
	__s64 round_trip_ns;
	__u64 sent_bytes;
};

/* A host and a target: its counters, paths and headers. No slots: not steered. */
struct pair {
	__u32 first_counter;
	__u32 first_path;
	__u32 slots;
	__u32 first_header;
	__u32 most_bytes;     /* of its headers */
	__u32 spare;
};

/* Two for each slot of a pair: for IPv4 inside, and for IPv6. */
struct header {
	__u8 bytes[244];
	__u32 size;
	__u32 leaves_by;      /* an interface other than the one it is at; 0: this one */
	__u32 spare;
};

struct flow {
	__u64 words[5];       /* source high, low, destination high, low, protocol and ports */
	__u64 last_ns;
	__u64 sent_bytes;
	__s64 round_trip_ns;
	__u64 flowlet;
	__u64 flowlet_start_ns;
	__u64 flowlet_packets;
	__u64 flowlet_bytes;
	__u64 flowlet_gap_ns;
	__u32 first[2];       /* outstanding segments in order, and those sent out of order */
	__u32 last[2];
	__u32 awaited;
	__u32 slot;           /* NOWHERE: it has not chosen yet */
	__u32 pair;
	__u32 vlan;
	__u32 generation;     /* 0: the place was never used */
	__u32 syn;
	__u32 knows_syn;
	__u32 dead;
};

struct outstanding {
	__u64 sent_ns;
	__u32 start;
	__u32 end;
	__u32 frame_bytes;
	__u32 counter;
	__u32 flow;
	__u32 generation;
	__u32 next;
	__u32 live;
	__u32 list;           /* NOWHERE: no acknowledgement is looked for */
	__u32 first_counter;
	__u32 payload_bytes;  /* or not 0 for SYN and FIN: somebody has to acknowledge it */
	__u32 spare;
};

/* A flowlet that has ended. */
struct record {
	__u64 words[5];
	__u64 flowlet;
	__u64 start_ns;
	__u64 last_ns;
	__u64 packets;
	__u64 bytes;
	__u64 gap_ns;
	__u32 path;
	__u32 vlan;
};
