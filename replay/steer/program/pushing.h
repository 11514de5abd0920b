/* The outer header: made in Python, put in front of the packet here, with what differs between packets filled in. */
#pragma once

#include "parse.h"
#include "maps.h"

#define UNSPEC (-1)
#define SHOT 2

/* What a frame counts on the wire: of a super-frame all its segments, each with headers of its own. */
INLINE __u32 frame_bytes_of(const struct config *c, const struct __sk_buff *skb, const struct packet *p, __u32 outer)
{
	__u32 bytes = p->ip_bytes + ETHERNET_BYTES + outer;

	if (skb->gso_segs > 1)
		bytes += (skb->gso_segs - 1) * (ETHERNET_BYTES + p->header_bytes + outer);
	return bytes > c->minimum_frame_bytes ? bytes : c->minimum_frame_bytes;
}

/* Whether what leaves has room in the MTU, once it is cut into segments. */
INLINE int fits(const struct __sk_buff *skb, const struct config *c, const struct packet *p, __u32 outer)
{
	__u32 longest = skb->gso_segs > 1 ? skb->gso_size + p->header_bytes : p->ip_bytes;

	return longest + outer <= c->mtu_bytes && p->ip_bytes + outer <= 65535;
}

INLINE int push(struct __sk_buff *skb, struct state *s, const struct config *c, const struct packet *p,
		const struct header *h, __u64 flow_key)
{
	__u32 size = h->size, label = mix(flow_key) & 0xfffff;
	__u32 payload = p->ip_bytes + size - 40;
	__u8 front[8];
	__u16 type = NET16(ETH_IPV6);

	OPAQUE(size);
	size &= 255;
	if (size < 40 || size > sizeof(h->bytes))
		return UNSPEC;
	label += !label;
	front[0] = 0x60 | p->traffic_class >> 4;
	front[1] = p->traffic_class << 4 | label >> 16;
	front[2] = label >> 8;
	front[3] = label;
	front[4] = payload >> 8;
	front[5] = payload;
	front[6] = h->bytes[6];
	front[7] = c->flags & COPIES_HOPS ? p->hops : h->bytes[7];
	if (adjust_room(skb, size, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | BPF_F_ADJ_ROOM_FIXED_GSO)) {
		__sync_fetch_and_add(&s->tally.push_failed, 1);
		return UNSPEC;
	}
	if (store_bytes(skb, ETHERNET_BYTES, h->bytes, size, 0) || store_bytes(skb, ETHERNET_BYTES, front, 8, 0) ||
	    store_bytes(skb, ETHERNET_BYTES - 2, &type, 2, 0)) {
		__sync_fetch_and_add(&s->tally.dropped, 1);
		return SHOT;
	}
	__sync_fetch_and_add(&s->tally.steered, 1);
	__sync_fetch_and_add(&s->tally.steered_bytes, p->ip_bytes + size);
	return h->leaves_by ? redirect_neigh(h->leaves_by, 0, 0, 0) : UNSPEC;
}
