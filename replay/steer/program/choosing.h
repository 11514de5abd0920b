/* When a flowlet starts, and which slot it takes (docs/model.md, Flowlets and policies). */
#pragma once

#include "maps.h"

#define PENALTY_BYTES (1ll << 50)

/* Whether a packet of a known flow starts a flowlet by the boundary rule. */
INLINE int starts(const struct config *c, const struct flow *f, const struct counter *of_host, __u64 now)
{
	__s64 round_trip_ns = f->round_trip_ns;
	__s64 gap_ns = now - f->last_ns;
	__u64 timeout_ns = c->timeout_ns;

	if ((c->flags & DRAINED) && !f->awaited)
		return 1;
	if (c->flags & BY_RTT) {
		if (round_trip_ns < 0)
			round_trip_ns = of_host->round_trip_ns;
		timeout_ns = c->high_ns;
		if (round_trip_ns >= 0) {
			timeout_ns = (__u64)round_trip_ns * c->times_permille / 1000;
			if (timeout_ns < c->low_ns)
				timeout_ns = c->low_ns;
			if (timeout_ns > c->high_ns)
				timeout_ns = c->high_ns;
		}
	}
	return gap_ns > (__s64)timeout_ns;
}

/* The slots that the host suspects, a bit for each. */
INLINE __u64 suspected(const struct config *c, const struct pair *at, __u64 now)
{
	__u64 barred = HIDDEN(c);

	ROLLED
	for (__u32 slot = 0; slot < MOST_SLOTS; slot++) {
		struct counter *of;

		if (slot >= at->slots)
			break;
		of = row(&counters, at->first_counter + slot);
		if (of && of->suspect_until_ns > now)
			barred ^= 1ull << slot;
	}
	return barred;
}

INLINE __s64 weighed(const struct config *c, const struct pair *at, __u32 slot, __u64 barred)
{
	struct counter *of = row(&counters, at->first_counter + slot);

	return (of ? of->inflight_bytes : (__s64)HIDDEN(c)) + (__s64)(barred >> slot & 1) * PENALTY_BYTES;
}

/* The lowest counter; of equals one by a draw. What it finds on its way stands in `of`: see FORGET. */
INLINE __u32 lowest(struct state *s, const struct config *c, const struct pair *at, struct steered *of)
{
	of->least = weighed(c, at, 0, of->barred);
	of->best = 0;
	of->equals = 1;
	ROLLED
	for (__u32 slot = 1; slot < MOST_SLOTS; slot++) {
		__s64 bytes;

		FORGET;
		if (slot >= at->slots)
			break;
		bytes = weighed(c, at, slot, of->barred);
		if (bytes < of->least) {
			of->least = bytes;
			of->best = slot;
			of->equals = 0;
		}
		of->equals += bytes == of->least;
	}
	FORGET;
	if (of->equals == 1)
		return of->best;
	of->skip = draw(s, of->equals);
	ROLLED
	for (__u32 slot = 0; slot < MOST_SLOTS; slot++) {
		FORGET;
		if (slot >= at->slots)
			break;
		if (weighed(c, at, slot, of->barred) != of->least)
			continue;
		if (!of->skip)
			of->best = slot;
		of->skip--;
	}
	FORGET;
	return of->best;
}

INLINE __u32 of_two(struct state *s, const struct config *c, const struct pair *at, __u64 barred)
{
	__u32 one, other;

	if (at->slots == 1)
		return 0;
	one = draw(s, at->slots);
	other = draw(s, at->slots - 1);
	if (other >= one)
		other++;
	return weighed(c, at, other, barred) < weighed(c, at, one, barred) ? other : one;
}

INLINE __u32 nth_usable(const struct config *c, __u32 nth, __u32 slots, __u64 barred)
{
	__u32 zero = HIDDEN(c);

	ROLLED
	for (__u32 slot = 0; slot < MOST_SLOTS; slot++) {
		if (slot >= slots)
			break;
		if (barred >> slot & 1)
			continue;
		if (!nth)
			return slot + zero;
		nth--;
	}
	return zero;
}

INLINE __u32 choose(struct state *s, const struct config *c, const struct pair *at, struct counter *of_host,
		    struct steered *of)
{
	int by_counter = c->policy == INFLIGHT || c->policy == TWO_CHOICES;
	__u32 usable, choices, chosen;

	of->barred = s->suspects_until_ns > of->now ? suspected(c, at, of->now) : 0;
	FORGET;
	usable = at->slots - ones(of->barred);
	if (!usable)
		of->barred = 0;
	FORGET;
	choices = by_counter || !usable ? at->slots : usable;
	if (c->policy == INFLIGHT) {
		chosen = lowest(s, c, at, of);
	} else if (c->policy == TWO_CHOICES) {
		chosen = of_two(s, c, at, of->barred);
	} else if (c->policy == HOST_ECMP) {
		chosen = scaled(mix(of->key ^ c->mixed_seed), choices);
	} else if (c->policy == ROUND_ROBIN) {
		chosen = of_host->made % choices;
		of_host->made++;
	} else {
		chosen = draw(s, choices);
	}
	if (!by_counter && of->barred)
		chosen = nth_usable(c, chosen, at->slots, of->barred);
	of->slot = chosen;
	FORGET;
	return of->slot;
}
