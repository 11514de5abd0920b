/* What is read of a packet: its five-tuple as five words, and what TCP says in it. */
#pragma once

#include "helpers.h"

#define ETH_IPV4 0x0800
#define ETH_IPV6 0x86DD
#define ETHERNET_BYTES 14

enum { HOP_BY_HOP = 0, IPV4_INSIDE = 4, TCP = 6, UDP = 17, DCCP = 33, IPV6_INSIDE = 41, ROUTING = 43, FRAGMENT = 44,
       ICMPV6 = 58, DESTINATION = 60, SCTP = 132, UDP_LITE = 136 };
enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

#define MOST_EXTENSIONS 4

struct packet {
	__u64 words[5];
	__u32 layer3;         /* where the IP header begins */
	__u32 layer4;
	__u32 ip_bytes;
	__u32 payload_bytes;
	__u32 header_bytes;   /* of IP and TCP */
	__u32 seq;
	__u32 ack;
	__u32 vlan;
	__u32 tcp;            /* whether its TCP header is known */
	__u32 option_bytes;
	__u32 is_ipv6;
	__u32 traffic_class;
	__u32 hops;
	__u32 protocol;
	__u32 tcp_flags;
	__u32 is_routed;      /* it has a routing header already */
	__u32 is_discovery;   /* neighbour discovery */
};

INLINE __u64 word_of(const __u8 *bytes)
{
	__u64 high = (__u64)bytes[0] << 24 | (__u64)bytes[1] << 16 | (__u64)bytes[2] << 8 | bytes[3];
	__u64 low = (__u64)bytes[4] << 24 | (__u64)bytes[5] << 16 | (__u64)bytes[6] << 8 | bytes[7];

	return high << 32 | low;
}

/* The EtherType; 0 if there is none. Tags that stand in the frame itself are no IP to whoever makes room in it. */
INLINE __u16 find_ip(struct __sk_buff *skb, struct packet *p)
{
	__u16 type = 0;

	p->vlan = skb->vlan_present ? 0x1000 | (skb->vlan_tci & 0xfff) : 0;
	p->layer3 = ETHERNET_BYTES;
	return load_bytes(skb, ETHERNET_BYTES - 2, &type, 2) ? 0 : NET16(type);
}

INLINE int read_ipv4(struct __sk_buff *skb, struct packet *p, int *has_ports)
{
	__u8 ip[20];

	if (load_bytes(skb, p->layer3, ip, sizeof(ip)) || ip[0] >> 4 != 4 || (ip[0] & 15) < 5)
		return -1;
	p->is_ipv6 = 0;
	p->layer4 = p->layer3 + (ip[0] & 15) * 4;
	p->traffic_class = ip[1];
	p->ip_bytes = ip[2] << 8 | ip[3];
	p->hops = ip[8];
	p->protocol = ip[9];
	p->words[0] = p->words[2] = 0;
	p->words[1] = (__u64)ip[12] << 24 | ip[13] << 16 | ip[14] << 8 | ip[15];
	p->words[3] = (__u64)ip[16] << 24 | ip[17] << 16 | ip[18] << 8 | ip[19];
	*has_ports = !((ip[6] & 0x3f) | ip[7]);
	return 0;
}

INLINE int read_ipv6(struct __sk_buff *skb, struct packet *p, int *has_ports)
{
	__u8 ip[40];

	if (load_bytes(skb, p->layer3, ip, sizeof(ip)) || ip[0] >> 4 != 6)
		return -1;
	p->is_ipv6 = 1;
	p->layer4 = p->layer3 + 40;
	p->traffic_class = (ip[0] & 15) << 4 | ip[1] >> 4;
	p->ip_bytes = (ip[4] << 8 | ip[5]) + 40;
	p->protocol = ip[6];
	p->hops = ip[7];
	p->words[0] = word_of(ip + 8);
	p->words[1] = word_of(ip + 16);
	p->words[2] = word_of(ip + 24);
	p->words[3] = word_of(ip + 32);
	*has_ports = 1;
	ROLLED
	for (int i = 0; i < MOST_EXTENSIONS; i++) {
		__u8 extension[2];

		if (p->protocol != HOP_BY_HOP && p->protocol != DESTINATION && p->protocol != ROUTING &&
		    p->protocol != FRAGMENT)
			break;
		if (load_bytes(skb, p->layer4, extension, 2))
			return -1;
		p->is_routed |= p->protocol == ROUTING;
		*has_ports &= p->protocol != FRAGMENT;
		p->layer4 += p->protocol == FRAGMENT ? 8 : (extension[1] + 1) * 8;
		p->protocol = extension[0];
	}
	return 0;
}

INLINE int read_ip(struct __sk_buff *skb, struct packet *p, int ipv6, int *has_ports)
{
	return ipv6 ? read_ipv6(skb, p, has_ports) : read_ipv4(skb, p, has_ports);
}

/* Ports, and what TCP says. Fragments have none: all of a datagram go one way. */
INLINE void read_transport(struct __sk_buff *skb, struct packet *p, int has_ports)
{
	__u8 tcp[20];
	__u64 ports = 0;

	p->tcp = 0;
	p->tcp_flags = 0;
	p->payload_bytes = 0;
	p->option_bytes = 0;
	p->header_bytes = p->layer4 - p->layer3;
	if (p->protocol == ICMPV6 && !load_bytes(skb, p->layer4, tcp, 1))
		p->is_discovery = tcp[0] >= 133 && tcp[0] <= 137;
	if (has_ports && (p->protocol == TCP || p->protocol == UDP || p->protocol == SCTP || p->protocol == DCCP ||
			  p->protocol == UDP_LITE) && !load_bytes(skb, p->layer4, tcp, 4))
		ports = (__u32)tcp[0] << 24 | tcp[1] << 16 | tcp[2] << 8 | tcp[3];
	p->words[4] = (__u64)p->protocol << 32 | ports;
	if (!has_ports || p->protocol != TCP || load_bytes(skb, p->layer4, tcp, sizeof(tcp)))
		return;
	p->tcp = 1;
	p->seq = word_of(tcp + 4) >> 32;
	p->ack = word_of(tcp + 4);
	p->tcp_flags = tcp[13];
	p->option_bytes = (tcp[12] >> 4) * 4;
	p->header_bytes += p->option_bytes;
	if (p->ip_bytes > p->header_bytes)
		p->payload_bytes = p->ip_bytes - p->header_bytes;
	p->option_bytes = p->option_bytes > 20 ? p->option_bytes - 20 : 0;
}

/* A packet as a host sends it. */
INLINE int parse(struct __sk_buff *skb, struct packet *p)
{
	__u16 type = find_ip(skb, p);
	int has_ports = 0;

	p->is_routed = p->is_discovery = 0;
	if ((type != ETH_IPV4 && type != ETH_IPV6) || read_ip(skb, p, type == ETH_IPV6, &has_ports))
		return -1;
	if (skb->gso_segs > 1 && skb->len > p->layer3)
		p->ip_bytes = skb->len - p->layer3;
	read_transport(skb, p, has_ports);
	FORGET;
	return 0;
}

/* A packet as it arrives, perhaps with an outer IPv6 header and an SRH around it, of which nothing is kept. */
INLINE int parse_arrived(struct __sk_buff *skb, struct packet *p)
{
	__u16 type = find_ip(skb, p);
	int has_ports = 0;

	p->is_routed = p->is_discovery = 0;
	if ((type != ETH_IPV4 && type != ETH_IPV6) || read_ip(skb, p, type == ETH_IPV6, &has_ports))
		return -1;
	if (p->is_ipv6 && (p->protocol == IPV4_INSIDE || p->protocol == IPV6_INSIDE)) {
		p->layer3 = p->layer4;
		if (read_ip(skb, p, p->protocol == IPV6_INSIDE, &has_ports))
			return -1;
	}
	read_transport(skb, p, has_ports);
	FORGET;
	return 0;
}
