// Replays a list of flows over a leaf-spine in ns-3 and writes what became of each: README.md beside.
#include "fabric.h"
#include "flows.h"
#include "steering.h"

#include "ns3/boolean.h"
#include "ns3/command-line.h"
#include "ns3/config.h"
#include "ns3/inet-socket-address.h"
#include "ns3/node.h"
#include "ns3/simulator.h"
#include "ns3/socket.h"
#include "ns3/string.h"
#include "ns3/tcp-socket-base.h"
#include "ns3/tcp-socket-factory.h"
#include "ns3/uinteger.h"

#include <ctime>
#include <iostream>
#include <map>
#include <set>

using namespace ns3;

namespace
{
struct Run
{
    std::vector<Flow>& flows;
    const Steerer& steerer;
    const Fabric& fabric;
    std::vector<uint32_t> received_bytes;
    std::vector<Ptr<Socket>> listeners;
    std::vector<Ptr<Socket>> sockets;
    size_t unfinished;
};

void
Receive(Run* run, size_t index, Ptr<Socket> socket)
{
    Flow& flow = run->flows[index];
    while (Ptr<Packet> packet = socket->Recv())
    {
        if (packet->GetSize() == 0)
        {
            break;
        }
        run->received_bytes[index] += packet->GetSize();
    }
    if (flow.received_ns < 0 && run->received_bytes[index] == flow.bytes)
    {
        flow.received_ns = Simulator::Now().GetNanoSeconds() - flow.start_ns;
        if (--run->unfinished == 0)
        {
            Simulator::Stop(MilliSeconds(1)); // the last acknowledgements
        }
    }
}

void
Accept(Run* run, size_t index, Ptr<Socket> socket, const Address&)
{
    socket->SetRecvCallback([run, index](Ptr<Socket> s) { Receive(run, index, s); });
    run->sockets.push_back(socket);
    run->listeners[index]->Close(); // the connection has its own end point by now
}

void
SeeState(Flow* flow, TcpSocketState::TcpCongState_t, TcpSocketState::TcpCongState_t now)
{
    flow->fast_recoveries += now == TcpSocketState::CA_RECOVERY;
}

void
SeeRto(Flow* flow, Time old, Time now)
{
    // A timeout doubles the timer; what is measured does not double to the nanosecond.
    flow->timeouts += old.IsStrictlyPositive() && now == old + old;
}

void
Start(Run* run, size_t index)
{
    Flow& flow = run->flows[index];
    const uint16_t port = run->steerer.Port(index);
    Ptr<Socket> server =
        Socket::CreateSocket(run->fabric.Host(flow.dst), TcpSocketFactory::GetTypeId());
    server->Bind(InetSocketAddress(Ipv4Address::GetAny(), port));
    server->Listen();
    server->SetAcceptCallback(MakeNullCallback<bool, Ptr<Socket>, const Address&>(),
                              [run, index](Ptr<Socket> s, const Address& a) { Accept(run, index, s, a); });
    run->listeners[index] = server;

    Ptr<Socket> client =
        Socket::CreateSocket(run->fabric.Host(flow.src), TcpSocketFactory::GetTypeId());
    client->TraceConnectWithoutContext("CongState", MakeBoundCallback(&SeeState, &flow));
    client->TraceConnectWithoutContext("RTO", MakeBoundCallback(&SeeRto, &flow));
    run->sockets.push_back(client);
    // The application writes when it is told of the connection (ns-3 sends 1 ns later), then closes: the
    // last segment carries the FIN.
    const auto write = [&flow](Ptr<Socket> socket) {
        socket->Send(Create<Packet>(flow.bytes));
        socket->Close();
    };
    client->SetConnectCallback(write, MakeNullCallback<void, Ptr<Socket>>());
    client->Connect(InetSocketAddress(Fabric::Address(flow.dst), port));
}

// ns-3 aborts at a value it cannot read.
void
Check(const std::string& flag, const std::string& value, const std::set<std::string>& units)
{
    const size_t unit = value.find_first_not_of("0123456789.");
    if (unit == 0 || unit == std::string::npos || units.count(value.substr(unit)) == 0)
    {
        std::string known;
        for (const std::string& each : units)
        {
            known += (known.empty() ? "" : ", ") + each;
        }
        Refuse("--" + flag + "=" + value + " is no number with one of the units " + known);
    }
}

void
SetTcp(const std::string& tcp, uint32_t segment, uint32_t window, uint32_t per_ack, bool sack,
       const std::string& min_rto, const std::string& initial_rto)
{
    const auto set = [](const char* name, const AttributeValue& value) { Config::SetDefault(name, value); };
    set("ns3::TcpL4Protocol::SocketType", TypeIdValue(TypeId::LookupByName("ns3::" + tcp)));
    set("ns3::TcpSocket::SegmentSize", UintegerValue(segment));
    set("ns3::TcpSocket::InitialCwnd", UintegerValue(window));
    set("ns3::TcpSocket::DelAckCount", UintegerValue(per_ack));
    set("ns3::TcpSocket::SndBufSize", UintegerValue(2000000000));
    set("ns3::TcpSocket::RcvBufSize", UintegerValue(1 << 29));
    set("ns3::TcpSocket::ConnTimeout", StringValue(initial_rto));
    set("ns3::TcpSocket::ConnCount", UintegerValue(20));
    set("ns3::TcpSocket::DataRetries", UintegerValue(20)); // no flow gives up
    set("ns3::RttEstimator::InitialEstimation", StringValue(initial_rto));
    set("ns3::TcpSocketBase::MinRto", StringValue(min_rto));
    set("ns3::TcpSocketBase::Timestamp", BooleanValue(false));
    set("ns3::TcpSocketBase::Sack", BooleanValue(sack));
}
} // namespace

int
main(int argc, char** argv)
{
    FabricShape shape;
    Steering steering{"pinned", "same", 0, 1, 1, 1};
    std::string list;
    std::string out;
    std::string tcp = "TcpCubic";
    std::string timeout = "100us";
    std::string min_rto = "10ms";
    std::string initial_rto = "10ms";
    std::string until = "1000s";
    uint32_t segment = 1460;
    uint32_t window = 10;
    uint32_t per_ack = 1;
    bool sack = true;

    CommandLine cmd(__FILE__);
    cmd.AddValue("flows", "the list: flow,start_ns,src,dst,bytes[,path]", list);
    cmd.AddValue("out", "where to write a row per flow", out);
    cmd.AddValue("leaves", "leaves", shape.leaves);
    cmd.AddValue("spines", "spines, each with a link to each leaf", shape.spines);
    cmd.AddValue("hosts_per_leaf", "hosts at a leaf", shape.hosts_per_leaf);
    cmd.AddValue("host_rate", "rate of host links", shape.host_rate);
    cmd.AddValue("core_rate", "rate of links between leaf and spine", shape.core_rate);
    cmd.AddValue("host_delay", "propagation of host links, one way", shape.host_delay);
    cmd.AddValue("core_delay", "propagation of links between leaf and spine", shape.core_delay);
    cmd.AddValue("host_queue", "packets that wait at a host's NIC", shape.host_queue);
    cmd.AddValue("switch_queue", "packets that wait at a switch port", shape.switch_queue);
    cmd.AddValue("mark_at", "a packet that finds so many waiting is marked; 0: no marks", shape.mark_at);
    cmd.AddValue("tcp", "TcpDctcp, TcpCubic, TcpNewReno or another of ns-3's", tcp);
    cmd.AddValue("segment", "bytes of payload a segment", segment);
    cmd.AddValue("window", "initial window in segments", window);
    cmd.AddValue("per_ack", "segments an acknowledgement", per_ack);
    cmd.AddValue("sack", "selective acknowledgements", sack);
    cmd.AddValue("min_rto", "shortest retransmission timeout", min_rto);
    cmd.AddValue("initial_rto", "timeout of the first SYN", initial_rto);
    cmd.AddValue("policy", "pinned, ecmp, random or inflight", steering.policy);
    cmd.AddValue("timeout", "a flowlet starts after a gap greater than this", timeout);
    cmd.AddValue("acks", "same (as the flow's data), steered or pinned", steering.acks);
    cmd.AddValue("seed", "of the draws of paths", steering.seed);
    cmd.AddValue("until", "simulated time after which nothing is waited for", until);
    cmd.Parse(argc, argv);

    if (std::set<std::string>{"pinned", "ecmp", "random", "inflight"}.count(steering.policy) == 0)
    {
        Refuse("--policy=" + steering.policy + " is none of pinned, ecmp, random, inflight");
    }
    if (std::set<std::string>{"same", "steered", "pinned"}.count(steering.acks) == 0)
    {
        Refuse("--acks=" + steering.acks + " is none of same, steered, pinned");
    }
    const std::map<std::string, std::string> times{{"host_delay", shape.host_delay},
                                                   {"core_delay", shape.core_delay},
                                                   {"timeout", timeout},
                                                   {"min_rto", min_rto},
                                                   {"initial_rto", initial_rto},
                                                   {"until", until}};
    for (const auto& [flag, value] : times)
    {
        Check(flag, value, {"ns", "us", "ms", "s"});
    }
    Check("host_rate", shape.host_rate, {"bps", "kbps", "Mbps", "Gbps"});
    Check("core_rate", shape.core_rate, {"bps", "kbps", "Mbps", "Gbps"});
    TypeId id;
    if (!TypeId::LookupByNameFailSafe("ns3::" + tcp, &id))
    {
        Refuse("--tcp=" + tcp + " is not known to ns-3");
    }
    if (shape.leaves < 1 || shape.spines < 1 || shape.spines > 250 || shape.hosts_per_leaf < 1)
    {
        Refuse("at least one leaf, one host a leaf, and 1 to 250 spines");
    }
    if (shape.mark_at == 1 || shape.switch_queue < 2 || shape.host_queue < 1)
    {
        Refuse("--mark_at is 0 or at least 2, --switch_queue at least 2, --host_queue at least 1");
    }
    if (list.empty() || out.empty())
    {
        Refuse("--flows and --out are needed");
    }

    std::vector<Flow> flows = ReadFlows(list, shape.leaves * shape.hosts_per_leaf, shape.spines);
    SetTcp(tcp, segment, window, per_ack, sack, min_rto, initial_rto);
    steering.timeout_ns = Time(timeout).GetNanoSeconds();
    steering.spines = shape.spines;
    steering.hosts_per_leaf = shape.hosts_per_leaf;
    Steerer steerer(steering, flows);
    const Fabric fabric(shape, steerer);
    Run run{flows, steerer, fabric, std::vector<uint32_t>(flows.size()),
            std::vector<Ptr<Socket>>(flows.size()), {}, flows.size()};
    for (size_t i = 0; i < flows.size(); i++)
    {
        Simulator::ScheduleWithContext(flows[i].src, NanoSeconds(flows[i].start_ns), &Start, &run, i);
    }

    Simulator::Stop(Time(until));
    const std::clock_t before = std::clock();
    Simulator::Run();
    const double seconds = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
    WriteFlows(out, flows);
    const FabricCounts counts = fabric.Counts();
    std::cout << "{\"cpu_seconds\": " << seconds << ", \"packet_hops\": " << counts.packet_hops
              << ", \"events\": " << Simulator::GetEventCount()
              << ", \"host_drops\": " << counts.host_drops << ", \"switch_drops\": " << counts.switch_drops
              << ", \"marks\": " << counts.marks << ", \"bytes_in_flight\": " << steerer.InFlight() << ", \"unfinished\": " << run.unfinished << "}\n";
    std::cout.flush();
    std::quick_exit(0); // taking the network apart takes longer than it is worth
}
