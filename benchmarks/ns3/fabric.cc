#include "fabric.h"

#include "ns3/boolean.h"
#include "ns3/double.h"
#include "ns3/drop-tail-queue.h"
#include "ns3/internet-stack-helper.h"
#include "ns3/ipv4-l3-protocol.h"
#include "ns3/ipv4-route.h"
#include "ns3/ipv4-routing-helper.h"
#include "ns3/ipv4-routing-protocol.h"
#include "ns3/net-device-queue-interface.h"
#include "ns3/point-to-point-helper.h"
#include "ns3/point-to-point-net-device.h"
#include "ns3/simulator.h"
#include "ns3/string.h"
#include "ns3/tag.h"
#include "ns3/traffic-control-layer.h"

using namespace ns3;

namespace
{
const uint32_t FIRST_ADDRESS = 0x0a000001; // 10.0.0.1 is host 0

class PathTag : public Tag
{
  public:
    static TypeId GetTypeId()
    {
        static TypeId id = TypeId("segcast::PathTag").SetParent<Tag>().AddConstructor<PathTag>();
        return id;
    }

    TypeId GetInstanceTypeId() const override
    {
        return GetTypeId();
    }

    uint32_t GetSerializedSize() const override
    {
        return 1;
    }

    void Serialize(TagBuffer i) const override
    {
        i.WriteU8(path);
    }

    void Deserialize(TagBuffer i) override
    {
        path = i.ReadU8();
    }

    void Print(std::ostream& os) const override
    {
        os << "path=" << int{path};
    }

    uint8_t path = 0;
};

Segment
Read(Ptr<const Packet> packet)
{
    uint8_t h[60] = {};
    packet->CopyData(h, sizeof h);
    const auto u16 = [&h](int at) { return static_cast<uint16_t>(h[at] << 8 | h[at + 1]); };
    const auto u32 = [&u16](int at) { return uint32_t{u16(at)} << 16 | u16(at + 2); };
    const uint32_t header = (h[12] >> 4) * 4;
    Segment s{u16(0), u16(2), u32(4), u32(8), (h[13] & 2) != 0, (h[13] & 16) != 0,
              packet->GetSize() - header, {}};
    for (uint32_t at = 20; at + 1 < header && h[at] != 0;)
    {
        if (h[at] == 1)
        {
            at++;
            continue;
        }
        if (h[at] == 5)
        {
            for (uint32_t block = at + 2; block + 8 <= at + h[at + 1]; block += 8)
            {
                s.sacked.emplace_back(u32(block), u32(block + 4));
            }
        }
        at += std::max<uint32_t>(h[at + 1], 2);
    }
    return s;
}

// Routes by place: a host has one link, a leaf its hosts' links and then one a spine, a spine one a leaf.
class PlacedRouting : public Ipv4RoutingProtocol
{
  public:
    enum Place
    {
        HOST,
        LEAF,
        SPINE
    };

    PlacedRouting(Place place, uint32_t index, const FabricShape& shape, Steerer& steerer)
        : m_place(place),
          m_index(index),
          m_shape(shape),
          m_steerer(steerer)
    {
    }

    Ptr<Ipv4Route> RouteOutput(Ptr<Packet> packet, const Ipv4Header& header, Ptr<NetDevice>,
                               Socket::SocketErrno& error) override
    {
        error = Socket::ERROR_NOTERROR;
        if (packet)
        {
            const uint32_t to = header.GetDestination().Get() - FIRST_ADDRESS;
            PathTag tag;
            tag.path = m_steerer.Choose(m_index, to, Read(packet), Simulator::Now().GetNanoSeconds());
            packet->AddPacketTag(tag);
        }
        Ptr<Ipv4Route> route = Create<Ipv4Route>();
        route->SetDestination(header.GetDestination());
        route->SetSource(Ipv4Address(FIRST_ADDRESS + m_index));
        route->SetGateway(header.GetDestination());
        route->SetOutputDevice(m_ipv4->GetNetDevice(1));
        return route;
    }

    bool RouteInput(Ptr<const Packet> packet, const Ipv4Header& header, Ptr<const NetDevice> device,
                    UnicastForwardCallback forward, MulticastForwardCallback,
                    LocalDeliverCallback deliver, ErrorCallback) override
    {
        const uint32_t to = header.GetDestination().Get() - FIRST_ADDRESS;
        if (m_place == HOST)
        {
            m_steerer.Arrived(header.GetSource().Get() - FIRST_ADDRESS, m_index, Read(packet),
                              Simulator::Now().GetNanoSeconds());
            deliver(packet, header, m_ipv4->GetInterfaceForDevice(device));
            return true;
        }
        const uint32_t leaf = to / m_shape.hosts_per_leaf;
        uint32_t port = leaf;
        if (m_place == LEAF && leaf == m_index)
        {
            port = to % m_shape.hosts_per_leaf;
        }
        else if (m_place == LEAF)
        {
            PathTag tag;
            packet->PeekPacketTag(tag);
            port = m_shape.hosts_per_leaf + tag.path;
        }
        forward(m_routes[port], packet, header);
        return true;
    }

    void NotifyInterfaceUp(uint32_t interface) override
    {
        if (interface > 0)
        {
            m_routes.resize(std::max<size_t>(m_routes.size(), interface));
            m_routes[interface - 1] = Create<Ipv4Route>();
            m_routes[interface - 1]->SetOutputDevice(m_ipv4->GetNetDevice(interface));
        }
    }

    void NotifyInterfaceDown(uint32_t) override
    {
    }

    void NotifyAddAddress(uint32_t, Ipv4InterfaceAddress) override
    {
    }

    void NotifyRemoveAddress(uint32_t, Ipv4InterfaceAddress) override
    {
    }

    void SetIpv4(Ptr<Ipv4> ipv4) override
    {
        m_ipv4 = ipv4;
    }

    void PrintRoutingTable(Ptr<OutputStreamWrapper>, Time::Unit) const override
    {
    }

  private:
    Place m_place;
    uint32_t m_index;
    FabricShape m_shape;
    Steerer& m_steerer;
    Ptr<Ipv4> m_ipv4;
    std::vector<Ptr<Ipv4Route>> m_routes; // by port
};

class PlacedRoutingHelper : public Ipv4RoutingHelper
{
  public:
    PlacedRoutingHelper(PlacedRouting::Place place, const FabricShape& shape, Steerer& steerer)
        : m_place(place),
          m_shape(shape),
          m_steerer(steerer)
    {
    }

    PlacedRoutingHelper* Copy() const override
    {
        return new PlacedRoutingHelper(*this);
    }

    Ptr<Ipv4RoutingProtocol> Create(Ptr<Node> node) const override
    {
        // Nodes are numbered hosts first, then leaves, then spines.
        const uint32_t hosts = m_shape.leaves * m_shape.hosts_per_leaf;
        const uint32_t first[] = {0, hosts, hosts + m_shape.leaves};
        return CreateObject<PlacedRouting>(m_place, node->GetId() - first[m_place], m_shape, m_steerer);
    }

  private:
    PlacedRouting::Place m_place;
    FabricShape m_shape;
    Steerer& m_steerer;
};

void
Install(NodeContainer nodes, PlacedRouting::Place place, const FabricShape& shape, Steerer& steerer)
{
    InternetStackHelper stack;
    stack.SetIpv6StackInstall(false);
    stack.SetRoutingHelper(PlacedRoutingHelper(place, shape, steerer));
    stack.Install(nodes);
}

void
Count(uint64_t* counter, Ptr<const Packet>)
{
    ++*counter;
}

QueueSize
Packets(uint32_t packets)
{
    return QueueSize(QueueSizeUnit::PACKETS, packets);
}
} // namespace

Fabric::Fabric(const FabricShape& shape, Steerer& steerer)
    : m_shape(shape)
{
    m_hosts.Create(shape.leaves * shape.hosts_per_leaf);
    m_leaves.Create(shape.leaves);
    m_spines.Create(shape.spines);
    Install(m_hosts, PlacedRouting::HOST, shape, steerer);
    Install(m_leaves, PlacedRouting::LEAF, shape, steerer);
    Install(m_spines, PlacedRouting::SPINE, shape, steerer);
    for (uint32_t host = 0; host < m_hosts.GetN(); host++)
    {
        Link(m_hosts.Get(host), m_leaves.Get(host / shape.hosts_per_leaf), true);
    }
    for (uint32_t leaf = 0; leaf < shape.leaves; leaf++)
    {
        for (uint32_t spine = 0; spine < shape.spines; spine++)
        {
            Link(m_leaves.Get(leaf), m_spines.Get(spine), false);
        }
    }
}

void
Fabric::Link(Ptr<Node> lower, Ptr<Node> upper, bool to_host)
{
    PointToPointHelper link;
    link.SetDeviceAttribute("DataRate", StringValue(to_host ? m_shape.host_rate : m_shape.core_rate));
    link.SetChannelAttribute("Delay", StringValue(to_host ? m_shape.host_delay : m_shape.core_delay));
    if (m_shape.mark_at == 0)
    {
        link.DisableFlowControl(); // a full queue drops, it does not stop the layer above
    }
    const NetDeviceContainer ends = link.Install(lower, upper);
    for (uint32_t end = 0; end < 2; end++)
    {
        Ptr<PointToPointNetDevice> device = DynamicCast<PointToPointNetDevice>(ends.Get(end));
        Ptr<Node> node = device->GetNode();
        const bool is_host = to_host && end == 0;
        uint64_t* drops = is_host ? &m_counts.host_drops : &m_counts.switch_drops;
        device->TraceConnectWithoutContext("PhyTxBegin", MakeBoundCallback(&Count, &m_counts.packet_hops));

        Ptr<Ipv4> ipv4 = node->GetObject<Ipv4>();
        const uint32_t interface = ipv4->AddInterface(device);
        if (is_host)
        {
            ipv4->AddAddress(interface, Ipv4InterfaceAddress(Address(node->GetId()), "255.0.0.0"));
        }
        ipv4->SetUp(interface);

        if (is_host || m_shape.mark_at == 0)
        {
            // The device's own queue is the only one: a full device queue would else hold
            // packets back in the layer above, or drop them there uncounted.
            device->GetQueue()->SetMaxSize(Packets(is_host ? m_shape.host_queue : m_shape.switch_queue));
            device->TraceConnectWithoutContext("MacTxDrop", MakeBoundCallback(&Count, drops));
            continue;
        }
        // Of the packets that wait, one lies in the device's queue, below the disc.
        device->GetQueue()->SetMaxSize(Packets(1));
        Ptr<RedQueueDisc> disc = CreateObject<RedQueueDisc>();
        disc->SetAttribute("MinTh", DoubleValue(m_shape.mark_at - 1));
        disc->SetAttribute("MaxTh", DoubleValue(m_shape.mark_at - 1));
        disc->SetAttribute("QW", DoubleValue(1)); // the queue at this instant, not an average
        disc->SetAttribute("Gentle", BooleanValue(false));
        disc->SetAttribute("UseEcn", BooleanValue(true));
        disc->SetAttribute("UseHardDrop", BooleanValue(false));
        disc->SetMaxSize(Packets(m_shape.switch_queue - 1));
        node->GetObject<TrafficControlLayer>()->SetRootQueueDiscOnDevice(device, disc);
        m_discs.push_back(disc);
    }
}

Ptr<Node>
Fabric::Host(uint32_t host) const
{
    return m_hosts.Get(host);
}

Ipv4Address
Fabric::Address(uint32_t host)
{
    return Ipv4Address(FIRST_ADDRESS + host);
}

FabricCounts
Fabric::Counts() const
{
    FabricCounts counts = m_counts;
    for (const Ptr<QueueDisc>& disc : m_discs)
    {
        counts.switch_drops += disc->GetStats().nTotalDroppedPackets;
        counts.marks += disc->GetStats().nTotalMarkedPackets;
    }
    return counts;
}
