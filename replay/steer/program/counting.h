/* Bytes in flight: what was sent and awaits its acknowledgement or its timeout (docs/model.md, In-flight bytes).
 *
 * What is outstanding stands in one ring, in the order in which it was sent, so in the order in which it times out.
 * Segments of a flow are chained through it in two lists: those whose ends ascend, and all others (retransmissions).
 */
#pragma once

#include "maps.h"

#define STEPS 64
#define HALF 0x80000000u

/* The number beyond a segment; one of no length is as if a byte long. */
INLINE __u32 end_of(const struct packet *p)
{
	return p->seq + (p->payload_bytes ? p->payload_bytes : 1);
}

/* Whether it carries nothing that anybody would acknowledge. */
INLINE int is_bare(const struct packet *p)
{
	return p->tcp && !p->payload_bytes && !(p->tcp_flags & (SYN | FIN));
}

INLINE struct outstanding *outstanding_at(const struct config *c, __u64 number)
{
	__u32 place = (__u32)number & c->outstanding_mask;

	return row(&outstandings, place);
}

/* Count a timeout in a row on a path, and after so many of them suspect it for a while. */
INLINE void suspect(struct state *s, const struct config *c, struct counter *at, __u64 now)
{
	if (!c->suspect_after || at->suspect_until_ns > now)
		return;
	at->silent++;
	if (at->silent < c->suspect_after)
		return;
	at->silent = 0;
	at->suspect_until_ns = now + c->suspect_for_ns;
	if (at->suspect_until_ns > s->suspects_until_ns)
		s->suspects_until_ns = at->suspect_until_ns;
}

/* Take off the count what has timed out, and forget what is not in flight any more; whether there is more of it. */
INLINE int expire(struct state *s, const struct config *c, __u64 now)
{
	ROLLED
	for (int i = 0; i < STEPS; i++) {
		struct outstanding *o;
		struct counter *at;
		struct flow *f;

		if (s->first_outstanding == s->next_outstanding)
			return 0;
		o = outstanding_at(c, s->first_outstanding);
		if (!o || (o->live && o->sent_ns + c->loss_timeout_ns > now))
			return 0;
		s->first_outstanding++;
		if (!o->live)
			continue;
		o->live = 0;
		s->tally.timed_out++;
		at = row(&counters, o->counter);
		f = row(&flows, o->flow);
		if (!at || !f)
			continue;
		at->inflight_bytes -= o->frame_bytes;
		if (f->generation != o->generation) {
			if (o->list != NOWHERE && o->payload_bytes)
				suspect(s, c, at, o->sent_ns + c->loss_timeout_ns);
			continue;
		}
		f->awaited--;
		if (o->list == NOWHERE)
			continue;
		/* All of its list that was sent before has gone, so it is the first. */
		f->first[o->list & 1] = o->next;
		if (o->payload_bytes && !f->dead)
			suspect(s, c, at, o->sent_ns + c->loss_timeout_ns);
	}
	return 1;
}

/* A segment is acknowledged: its bytes leave the count. */
INLINE void release(struct state *s, struct flow *f, struct outstanding *o, const struct answer *a, __u64 now)
{
	struct counter *at = row(&counters, o->counter);
	struct counter *of_host = row(&counters, o->first_counter);

	o->live = 0;
	f->awaited--;
	s->tally.acknowledged++;
	if (!at || !of_host)
		return;
	at->inflight_bytes -= o->frame_bytes;
	at->silent = 0;
	if (a->measures) {
		f->round_trip_ns = smoothed(f->round_trip_ns, now - o->sent_ns);
		of_host->round_trip_ns = smoothed(of_host->round_trip_ns, now - o->sent_ns);
	}
}

INLINE int is_acknowledged(const struct outstanding *o, __u32 ack, const struct answer *a)
{
	if (ack - o->end < HALF)
		return 1;
	ROLLED
	for (__u32 i = 0; i < MOST_SACKS; i++) {
		if (i >= a->sacks)
			break;
		if (o->start - a->first[i] < HALF && a->beyond[i] - o->end < HALF)
			return 1;
	}
	return 0;
}

/* Begin to read an acknowledgement. Karn: what was sent again says nothing of round trips. */
INLINE void begin_answer(struct answer *a, const struct flow *f)
{
	a->phase = IN_ORDER;
	a->measures = f->first[1] == NOWHERE;
}

/* Look through the first list from its beginning if anything but its beginning may be acknowledged, else the second. */
INLINE void look_through(struct answer *a, const struct flow *f, __u32 ack)
{
	struct outstanding *o = row(&outstandings, f->last[0]);

	a->before = NOWHERE;
	a->phase = THROUGH_FIRST;
	a->place = f->first[0];
	if (a->sacks || (o && ack - o->end < HALF))
		return;
	a->phase = THROUGH_SECOND;
	a->place = f->first[1];
}

/* Take off the count what an acknowledgement covers, as far as the steps go; whether there is more of it. */
INLINE int acknowledge(struct state *s, struct flow *f, __u32 ack, struct answer *a, __u64 now)
{
	ROLLED
	for (int i = 0; i < STEPS; i++) {
		struct outstanding *o, *before;
		__u32 list, next;

		if (a->phase == IN_ORDER) {
			/* Ends ascend: what is acknowledged comes first. */
			o = f->first[0] == NOWHERE ? 0 : row(&outstandings, f->first[0]);
			if (!o || ack - o->end >= HALF) {
				if (f->first[0] == NOWHERE && f->first[1] == NOWHERE)
					return 0;
				look_through(a, f, ack);
				continue;
			}
			release(s, f, o, a, now);
			f->first[0] = o->next;
			continue;
		}
		list = (a->phase - THROUGH_FIRST) & 1;
		o = a->place == NOWHERE ? 0 : row(&outstandings, a->place);
		if (!o) {
			if (list)
				return 0;
			a->phase = THROUGH_SECOND;
			a->before = NOWHERE;
			a->place = f->first[1];
			continue;
		}
		next = o->next;
		if (is_acknowledged(o, ack, a)) {
			release(s, f, o, a, now);
			before = a->before == NOWHERE ? 0 : row(&outstandings, a->before);
			if (before)
				before->next = next;
			else
				f->first[list] = next;
			if (next == NOWHERE)
				f->last[list] = a->before;
		} else {
			a->before = a->place;
		}
		a->place = next;
	}
	return 1;
}

/* Count a packet as in flight on a path. */
INLINE void await(struct state *s, const struct config *c, struct flow *f, __u32 flow, const struct packet *p,
		  __u32 counter, __u32 first_counter, __u32 frame_bytes, __u64 now)
{
	struct counter *at = row(&counters, counter);
	struct outstanding *o, *head, *tail;
	__u32 place = (__u32)s->next_outstanding & c->outstanding_mask;
	__u32 list = NOWHERE;

	if (!at || s->next_outstanding - s->first_outstanding > c->outstanding_mask) {
		s->tally.uncounted++;
		return;
	}
	o = row(&outstandings, place);
	if (!o)
		return;
	at->inflight_bytes += frame_bytes;
	f->awaited++;
	o->sent_ns = now;
	o->start = p->seq;
	o->end = end_of(p);
	o->frame_bytes = frame_bytes;
	o->counter = counter;
	o->first_counter = first_counter;
	o->flow = flow;
	o->generation = f->generation;
	o->payload_bytes = p->tcp ? p->payload_bytes | (p->tcp_flags & (SYN | FIN)) : 0;
	o->next = NOWHERE;
	o->live = 1;
	if (p->tcp) {
		list = 0;
		if (f->first[0] != NOWHERE) {
			head = row(&outstandings, f->first[0]);
			tail = row(&outstandings, f->last[0]);
			if (!head || !tail)
				return;
			if (o->end - tail->end >= HALF ||
			    (__u64)(tail->end - head->end) + (o->end - tail->end) >= HALF)
				list = 1;
		}
		if (f->first[list & 1] == NOWHERE) {
			f->first[list & 1] = place;
		} else {
			tail = row(&outstandings, f->last[list & 1]);
			if (tail)
				tail->next = place;
		}
		f->last[list & 1] = place;
	}
	o->list = list;
	s->next_outstanding++;
}
