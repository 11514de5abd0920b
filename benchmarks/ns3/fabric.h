// A leaf-spine of ns-3 nodes whose packets carry, without a byte on the wire, the spine they take.
#pragma once

#include "steering.h"

#include "ns3/node-container.h"
#include "ns3/red-queue-disc.h"

#include <cstdint>
#include <string>
#include <vector>

struct FabricShape
{
    uint32_t leaves = 2;
    uint32_t spines = 4;
    uint32_t hosts_per_leaf = 8;
    std::string host_rate = "10Gbps";
    std::string core_rate = "10Gbps";
    std::string host_delay = "10us";
    std::string core_delay = "10us";
    uint32_t host_queue = 250;   // packets waiting at a host's NIC
    uint32_t switch_queue = 250; // packets waiting at a switch port
    uint32_t mark_at = 0;        // packets; 0: drop-tail without marks
};

struct FabricCounts
{
    uint64_t packet_hops = 0; // packets put on a link, acknowledgements among them
    uint64_t host_drops = 0;
    uint64_t switch_drops = 0;
    uint64_t marks = 0;
};

class Fabric
{
  public:
    Fabric(const FabricShape& shape, Steerer& steerer);

    ns3::Ptr<ns3::Node> Host(uint32_t host) const;
    static ns3::Ipv4Address Address(uint32_t host);
    FabricCounts Counts() const;

  private:
    void Link(ns3::Ptr<ns3::Node> lower, ns3::Ptr<ns3::Node> upper, bool to_host);

    FabricShape m_shape;
    FabricCounts m_counts;
    ns3::NodeContainer m_hosts;
    ns3::NodeContainer m_leaves;
    ns3::NodeContainer m_spines;
    std::vector<ns3::Ptr<ns3::QueueDisc>> m_discs;
};
