/* Steers a host's packets: egress finds flowlets and puts each on a path, ingress reads acknowledgements.
 *
 * The rules are those of docs/model.md, in the same integers; docs/steer.md says what is around them. One lock holds
 * for all that is decided. A packet that must wait for it too long goes on as if nothing were attached, and so does
 * every packet of which something is missing.
 */
#include "parse.h"
#include "maps.h"
#include "counting.h"
#include "choosing.h"
#include "remembering.h"
#include "pushing.h"

#define TRIES 400
#define MOST_OPTIONS 8
#define MOST_ROUNDS 30

/* Places in `entries`. */
enum { DECIDE, ACKNOWLEDGE };

/* Taken from no helper that asks for a licence of its own. */
char _license[] SECTION("license") = "Apache-2.0";

INLINE int take(struct state *s)
{
	ROLLED
	for (int i = 0; i < TRIES; i++)
		if (!__sync_val_compare_and_swap(&s->lock, 0, 1))
			return 1;
	__sync_fetch_and_add(&s->tally.contended, 1);
	return 0;
}

INLINE void give(struct state *s)
{
	__sync_val_compare_and_swap(&s->lock, 1, 0);
}

INLINE __u64 time_of(const struct config *c, struct __sk_buff *skb)
{
	return c->flags & PACKET_CLOCK ? skb->tstamp : monotonic_ns();
}

/* Addresses that no router forwards, or that are many: 0/8, 127/8, 169.254/16, 224/4, 240/4, ::, ::1, fe80::/10, ff00::/8. */
INLINE int has_link_scope(int ipv6, __u64 high, __u64 low)
{
	__u32 first = low >> 24;

	if (ipv6)
		return high >> 54 == 0x3fa || high >> 56 == 0xff || (!high && low < 2);
	return first == 0 || first == 127 || first >= 224 || low >> 16 == 0xa9fe;
}

INLINE __u32 *in(void *prefixes, int ipv6, __u64 high, __u64 low)
{
	__u64 words[3] = {128, NET64(high), NET64(low)};
	struct prefix key = {.length = 128};

	if (!ipv6) {
		words[1] = 0;
		words[2] = NET64(0xffff00000000ull | low);
	}
	__builtin_memcpy(key.address, &words[1], 16);
	return lookup(prefixes, &key);
}

/* Under the lock: the slot that a packet takes, which is counted; NOWHERE if something is missing. */
INLINE __u32 decide(struct __sk_buff *skb, struct state *s, const struct config *c, const struct packet *p,
		    const struct pair *at, struct steered *of)
{
	struct counter *of_host = row(&counters, at->first_counter), *of_slot;
	__u32 place = of->place == NOWHERE ? place_for(c, of->key) : of->place;
	struct flow *f = row(&flows, place);
	__u32 slot, frame_bytes;
	struct header *h;

	if (!f || !of_host)
		return NOWHERE;
	if (!is_flow(f, p)) {
		if (f->generation) {
			note(s, c, f);
			s->tally.evicted++;
		}
		begin_flow(s, f, p, of->pair);
	} else if (p->tcp && p->tcp_flags & SYN && (f->dead || !f->knows_syn || f->syn != p->seq)) {
		/* The same five-tuple again: another connection. */
		note(s, c, f);
		begin_flow(s, f, p, of->pair);
	}
	if (p->tcp && p->tcp_flags & SYN) {
		f->syn = p->seq;
		f->knows_syn = 1;
	}
	if (f->slot == NOWHERE || c->granularity == PER_PACKET ||
	    (c->granularity == PER_FLOWLET && starts(c, f, of_host, of->now))) {
		note(s, c, f);
		slot = choose(s, c, at, of_host, of);
		s->tally.flowlets++;
		s->tally.path_changes += f->slot != NOWHERE && f->slot != slot;
		f->flowlet_gap_ns = f->slot == NOWHERE ? 0 : of->now - f->last_ns;
		f->slot = slot;
		f->flowlet = s->next_flowlet++;
		f->flowlet_start_ns = of->now;
		f->flowlet_packets = 0;
		f->flowlet_bytes = 0;
	}
	slot = f->slot;
	f->last_ns = of->now;
	f->sent_bytes += p->ip_bytes;
	f->flowlet_packets++;
	f->flowlet_bytes += p->ip_bytes;
	s->last_slot = slot;
	s->last_flowlet = f->flowlet;
	h = row(&headers, at->first_header + 2 * slot + p->is_ipv6);
	of_slot = row(&counters, at->first_counter + slot);
	if (!h || !of_slot)
		return NOWHERE;
	frame_bytes = frame_bytes_of(c, skb, p, h->size);
	of_slot->sent_bytes += frame_bytes;
	if (!is_bare(p) || c->flags & COUNTS_BARE)
		await(s, c, f, place, p, at->first_counter + slot, at->first_counter, frame_bytes, of->now);
	if (p->tcp && p->tcp_flags & RST) {
		f->dead = 1;
		s->tally.resets++;
	}
	return slot;
}

SECTION("tc/egress") int egress(struct __sk_buff *skb)
{
	const struct config *c = row(&settings, 0);
	struct state *s = row(&states, 0);
	struct scratch *work = row(&scratches, 0);
	struct steered *of;
	struct packet *p;
	__u32 *host, *target;
	struct pair *at;

	if (!c || !s || !work || !c->enabled || parse(skb, &work->packet))
		return UNSPEC;
	p = &work->packet;
	of = &work->steered;
	if (p->is_routed || p->is_discovery || has_link_scope(p->is_ipv6, p->words[0], p->words[1]) ||
	    has_link_scope(p->is_ipv6, p->words[2], p->words[3])) {
		__sync_fetch_and_add(&s->tally.not_touched, 1);
		return UNSPEC;
	}
	host = in(&sources, p->is_ipv6, p->words[0], p->words[1]);
	target = in(&targets, p->is_ipv6, p->words[2], p->words[3]);
	of->pair = host && target ? *host * c->targets + *target : NOWHERE;
	at = row(&pairs, of->pair);
	if (!at || !at->slots) {
		__sync_fetch_and_add(&s->tally.not_targeted, 1);
		return UNSPEC;
	}
	if (!fits(skb, c, p, at->most_bytes)) {
		__sync_fetch_and_add(&s->tally.too_long, 1);
		return UNSPEC;
	}
	of->key = key_of(p->words);
	of->now = time_of(c, skb);
	of->slot = NOWHERE;
	work->rounds = 0;
	work->holds = take(s);
	of->place = find(c, p, of->key);
	tail_call(skb, &entries, DECIDE);
	if (work->holds)
		give(s);
	return UNSPEC;
}

/* Where egress goes on: under the lock, unless that was held too long. */
SECTION("tc/decide") int decide_and_push(struct __sk_buff *skb)
{
	const struct config *c = row(&settings, 0);
	struct state *s = row(&states, 0);
	struct scratch *work = row(&scratches, 0);
	struct steered *of;
	struct header *h;
	struct pair *at;
	struct flow *f;

	if (!c || !s || !work)
		return UNSPEC;
	of = &work->steered;
	at = row(&pairs, of->pair);
	if (!at)
		return UNSPEC;
	if (work->holds) {
		if (expire(s, c, of->now)) {
			if (work->rounds++ < MOST_ROUNDS)
				tail_call(skb, &entries, DECIDE);
			s->tally.behind++;
		}
		of->slot = decide(skb, s, c, &work->packet, at, of);
		give(s);
	} else {
		/* What is known of its flow is read without the lock, and nothing is counted. */
		f = row(&flows, of->place);
		of->slot = f ? f->slot : NOWHERE;
	}
	FORGET;
	if (of->slot >= at->slots)
		return UNSPEC;
	h = row(&headers, at->first_header + 2 * of->slot + work->packet.is_ipv6);
	return h ? push(skb, s, c, &work->packet, h, of->key) : UNSPEC;
}

/* The blocks of a SACK option; what does not fit what is read of the options is left out. */
INLINE void read_sacks(struct __sk_buff *skb, const struct packet *p, struct answer *a)
{
	__u32 at = p->layer4 + 20, end = at + p->option_bytes;
	__u8 kind[2], block[8];

	ROLLED
	for (int i = 0; i < MOST_OPTIONS; i++) {
		if (at + 2 > end || load_bytes(skb, at, kind, 2) || !kind[0])
			return;
		if (kind[0] == 5) {
			ROLLED
			for (int k = 0; k < MOST_SACKS; k++) {
				if (2 + 8 * (k + 1) > kind[1] || at + kind[1] > end ||
				    load_bytes(skb, at + 2 + 8 * k, block, 8))
					return;
				a->first[k] = word_of(block) >> 32;
				a->beyond[k] = word_of(block);
				a->sacks = k + 1;
			}
			return;
		}
		at += kind[0] == 1 ? 1 : kind[1] < 2 ? 40 : kind[1];
	}
}

SECTION("tc/ingress") int ingress(struct __sk_buff *skb)
{
	const struct config *c = row(&settings, 0);
	struct state *s = row(&states, 0);
	struct scratch *work = row(&scratches, 0);
	__u64 high, low, ports;
	struct packet *p;
	struct flow *f;

	if (!c || !s || !work || !c->enabled || parse_arrived(skb, &work->packet))
		return UNSPEC;
	p = &work->packet;
	if (!p->tcp || !(p->tcp_flags & (ACK | RST)))
		return UNSPEC;
	/* The flow that it answers. */
	high = p->words[0];
	low = p->words[1];
	ports = p->words[4];
	p->words[0] = p->words[2];
	p->words[1] = p->words[3];
	p->words[2] = high;
	p->words[3] = low;
	p->words[4] = (__u64)p->protocol << 32 | (ports & 0xffff) << 16 | (ports >> 16 & 0xffff);
	work->answer.sacks = 0;
	if (c->flags & READS_SACK && p->tcp_flags & ACK && p->option_bytes)
		read_sacks(skb, p, &work->answer);
	work->steered.now = time_of(c, skb);
	work->rounds = 0;
	if (!take(s))
		return UNSPEC;
	work->steered.place = find(c, p, key_of(p->words));
	f = row(&flows, work->steered.place);
	if (f)
		begin_answer(&work->answer, f);
	tail_call(skb, &entries, ACKNOWLEDGE);
	give(s);
	return UNSPEC;
}

/* Where ingress goes on, under the lock. */
SECTION("tc/acknowledge") int take_answer(struct __sk_buff *skb)
{
	const struct config *c = row(&settings, 0);
	struct state *s = row(&states, 0);
	struct scratch *work = row(&scratches, 0);
	struct packet *p;
	struct flow *f;
	int more;

	if (!c || !s || !work)
		return UNSPEC;
	p = &work->packet;
	/* What has timed out by now is not acknowledged any more. */
	more = expire(s, c, work->steered.now);
	f = row(&flows, work->steered.place);
	if (f && !more && p->tcp_flags & ACK)
		more = acknowledge(s, f, p->ack, &work->answer, work->steered.now);
	if (more) {
		if (work->rounds++ < MOST_ROUNDS)
			tail_call(skb, &entries, ACKNOWLEDGE);
		s->tally.behind++;
	}
	if (f && p->tcp_flags & RST) {
		f->dead = 1;
		s->tally.resets++;
	}
	give(s);
	return UNSPEC;
}

/* Takes off the count what has timed out while nothing was sent; run by the controller, on any bytes. */
SECTION("tc/sweep") int sweep(struct __sk_buff *skb)
{
	const struct config *c = row(&settings, 0);
	struct state *s = row(&states, 0);

	if (!c || !s || !take(s))
		return UNSPEC;
	expire(s, c, time_of(c, skb));
	give(s);
	return UNSPEC;
}
