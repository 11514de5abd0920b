/* Flows: found by their five-tuple, in sets of a few places of which the longest unused is given away. */
#pragma once

#include "parse.h"
#include "maps.h"

INLINE int is_flow(const struct flow *f, const struct packet *p)
{
	return f->generation && f->vlan == p->vlan && f->words[0] == p->words[0] && f->words[1] == p->words[1] &&
	       f->words[2] == p->words[2] && f->words[3] == p->words[3] && f->words[4] == p->words[4];
}

INLINE __u32 first_place(const struct config *c, __u64 key)
{
	return ((__u32)(key >> 16) & c->bucket_mask) * WAYS;
}

/* The place of a packet's flow, or NOWHERE. */
INLINE __u32 find(const struct config *c, const struct packet *p, __u64 key)
{
	__u32 first = first_place(c, key);

	ROLLED
	for (__u32 way = 0; way < WAYS; way++) {
		struct flow *f = row(&flows, first + way);

		if (f && is_flow(f, p))
			return first + way;
	}
	return NOWHERE;
}

/* The place for a new flow: one never used, or else the one of the longest unused. */
INLINE __u32 place_for(const struct config *c, __u64 key)
{
	__u32 first = first_place(c, key), best = first;
	__u64 least = ~0ull;

	ROLLED
	for (__u32 way = 0; way < WAYS; way++) {
		struct flow *f = row(&flows, first + way);

		if (f && (f->generation ? f->last_ns + 1 : 0) < least) {
			least = f->generation ? f->last_ns + 1 : 0;
			best = first + way;
		}
	}
	return best;
}

/* Note a flowlet that has ended, for whoever reads the log. */
INLINE void note(struct state *s, const struct config *c, const struct flow *f)
{
	struct record *r;
	struct pair *at;

	if (!(c->flags & LOGS) || f->slot == NOWHERE)
		return;
	if (s->log_written - s->log_read > c->log_mask) {
		s->tally.log_lost++;
		return;
	}
	r = row(&records, (__u32)s->log_written & c->log_mask);
	at = row(&pairs, f->pair);
	if (!r || !at)
		return;
	for (int i = 0; i < 5; i++)
		r->words[i] = f->words[i];
	r->flowlet = f->flowlet;
	r->start_ns = f->flowlet_start_ns;
	r->last_ns = f->last_ns;
	r->packets = f->flowlet_packets;
	r->bytes = f->flowlet_bytes;
	r->gap_ns = f->flowlet_gap_ns;
	r->path = at->first_path + f->slot;
	r->vlan = f->vlan;
	/* With a fetch this orders what was written before it, on every processor. */
	__sync_fetch_and_add(&s->log_written, 1);
}

INLINE void begin_flow(struct state *s, struct flow *f, const struct packet *p, __u32 pair)
{
	for (int i = 0; i < 5; i++)
		f->words[i] = p->words[i];
	f->vlan = p->vlan;
	f->pair = pair;
	f->generation += f->generation == NOWHERE ? 2 : 1;
	f->slot = NOWHERE;
	f->first[0] = f->first[1] = f->last[0] = f->last[1] = NOWHERE;
	f->awaited = 0;
	f->round_trip_ns = UNKNOWN;
	f->sent_bytes = 0;
	f->last_ns = 0;
	f->knows_syn = 0;
	f->dead = 0;
	s->tally.flows++;
}
