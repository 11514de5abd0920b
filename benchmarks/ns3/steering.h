// Which spine each packet takes. A host asks as it hands a packet down, before its NIC queue.
#pragma once

#include "flows.h"

#include <map>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

struct Steering
{
    std::string policy;     // pinned, ecmp, random, inflight
    std::string acks;       // same, steered, pinned
    int64_t timeout_ns = 0; // a flowlet starts after a gap greater than this
    uint64_t seed = 1;
    uint32_t spines = 1;
    uint32_t hosts_per_leaf = 1;
};

// What a host reads of a TCP segment.
struct Segment
{
    uint16_t src_port;
    uint16_t dst_port;
    uint32_t seq;
    uint32_t ack;
    bool syn;
    bool has_ack;
    uint32_t payload_bytes;
    std::vector<std::pair<uint32_t, uint32_t>> sacked; // [first, second)
};

class Steerer
{
  public:
    Steerer(const Steering& steering, std::vector<Flow>& flows);

    // The port at which the destination of a flow listens.
    uint16_t Port(size_t flow) const;

    // A host hands a segment to `to` down at now_ns; the spine it takes.
    uint32_t Choose(uint32_t from, uint32_t to, const Segment& segment, int64_t now_ns);

    // Bytes in all counters; 0 once all is acknowledged.
    int64_t InFlight() const;

    // A segment from `from` has come in at host `at`.
    void Arrived(uint32_t from, uint32_t at, const Segment& segment, int64_t now_ns);

  private:
    struct Direction
    {
        int64_t last_ns = -1;
        int path = -1;
    };

    // A range of bytes that is not yet acknowledged, and the spines its copies took.
    struct Sent
    {
        uint32_t end;
        std::vector<uint8_t> paths;
    };

    struct State
    {
        Direction data;
        Direction ack;
        uint32_t next_seq = 1; // above everything sent
        std::map<uint32_t, Sent> unacknowledged; // by first byte
    };

    bool Find(uint32_t from, uint32_t to, const Segment& segment, size_t& flow, bool& forward) const;
    uint32_t Anew(uint32_t host, uint32_t to_leaf);
    int64_t* Counters(uint32_t host, uint32_t to_leaf);
    void Release(const Flow& flow, State& state, uint32_t first, uint32_t second);

    Steering m_steering;
    std::vector<Flow>& m_flows;
    std::vector<State> m_states;
    std::vector<int> m_fixed; // the list's path, else a draw of the seed
    std::vector<uint16_t> m_ports;
    std::unordered_map<uint64_t, size_t> m_by_port; // destination, port
    std::unordered_map<uint64_t, std::vector<int64_t>> m_counters;
    std::mt19937_64 m_random;
};
