#include "steering.h"

#include <algorithm>
#include <numeric>

namespace
{
const uint16_t FIRST_PORT = 1000; // below the first ephemeral one, 49152
const uint16_t LAST_PORT = 49000;

uint64_t
Key(uint32_t host, uint32_t other)
{
    return (uint64_t{host} << 32) | other;
}
} // namespace

Steerer::Steerer(const Steering& steering, std::vector<Flow>& flows)
    : m_steering(steering),
      m_flows(flows),
      m_states(flows.size()),
      m_random(steering.seed * 2 + 1)
{
    std::mt19937_64 draws(steering.seed * 2); // their own stream: policies do not move them
    std::unordered_map<uint32_t, uint32_t> used;
    for (size_t i = 0; i < flows.size(); i++)
    {
        const int drawn = static_cast<int>(draws() % steering.spines);
        if (steering.policy == "pinned" && flows[i].path < 0)
        {
            Refuse("flow " + flows[i].name + " has no path: --policy=pinned needs one for each");
        }
        const bool given = flows[i].path >= 0 && steering.policy != "ecmp";
        m_fixed.push_back(given ? flows[i].path : drawn);
        const uint32_t port = FIRST_PORT + used[flows[i].dst]++;
        if (port > LAST_PORT)
        {
            Refuse("more than " + std::to_string(LAST_PORT - FIRST_PORT) + " flows to one host");
        }
        m_ports.push_back(port);
        m_by_port[Key(flows[i].dst, port)] = i;
    }
}

uint16_t
Steerer::Port(size_t flow) const
{
    return m_ports[flow];
}

bool
Steerer::Find(uint32_t from, uint32_t to, const Segment& segment, size_t& flow, bool& forward) const
{
    auto found = m_by_port.find(Key(to, segment.dst_port));
    forward = found != m_by_port.end() && m_flows[found->second].src == from;
    if (!forward)
    {
        found = m_by_port.find(Key(from, segment.src_port));
        if (found == m_by_port.end())
        {
            return false;
        }
    }
    flow = found->second;
    return true;
}

int64_t*
Steerer::Counters(uint32_t host, uint32_t to_leaf)
{
    std::vector<int64_t>& counters = m_counters[Key(host, to_leaf)];
    counters.resize(m_steering.spines);
    return counters.data();
}

uint32_t
Steerer::Anew(uint32_t host, uint32_t to_leaf)
{
    if (m_steering.policy == "random")
    {
        return m_random() % m_steering.spines;
    }
    const int64_t* counters = Counters(host, to_leaf);
    const int64_t lowest = *std::min_element(counters, counters + m_steering.spines);
    std::vector<uint32_t> equals;
    for (uint32_t path = 0; path < m_steering.spines; path++)
    {
        if (counters[path] == lowest)
        {
            equals.push_back(path);
        }
    }
    return equals[m_random() % equals.size()];
}

uint32_t
Steerer::Choose(uint32_t from, uint32_t to, const Segment& segment, int64_t now_ns)
{
    size_t index;
    bool forward;
    const uint32_t to_leaf = to / m_steering.hosts_per_leaf;
    if (!Find(from, to, segment, index, forward) || from / m_steering.hosts_per_leaf == to_leaf)
    {
        return 0;
    }
    Flow& flow = m_flows[index];
    State& state = m_states[index];
    Direction& direction = forward ? state.data : state.ack;
    const bool by_flowlet = m_steering.policy == "random" || m_steering.policy == "inflight";
    if (by_flowlet && (forward || m_steering.acks == "steered"))
    {
        if (direction.path < 0 || now_ns - direction.last_ns > m_steering.timeout_ns)
        {
            const int path = static_cast<int>(Anew(from, to_leaf));
            if (forward)
            {
                flow.flowlets++;
                flow.path_changes += direction.path >= 0 && direction.path != path;
            }
            direction.path = path;
        }
        direction.last_ns = now_ns;
    }
    else if (!forward && m_steering.acks == "same" && state.data.path >= 0)
    {
        direction.path = state.data.path;
    }
    else
    {
        direction.path = m_fixed[index];
    }

    if (forward && segment.syn)
    {
        flow.syns++;
    }
    if (forward && segment.payload_bytes > 0)
    {
        const uint32_t end = segment.seq + segment.payload_bytes;
        flow.retransmissions += segment.seq < state.next_seq;
        state.next_seq = std::max(state.next_seq, end);
        if (m_steering.policy == "inflight")
        {
            // A copy that starts at the same byte counts for the range of the first one.
            Sent& sent = state.unacknowledged.try_emplace(segment.seq, Sent{end, {}}).first->second;
            sent.paths.push_back(static_cast<uint8_t>(direction.path));
            Counters(from, to_leaf)[direction.path] += sent.end - segment.seq;
        }
    }
    return direction.path;
}

void
Steerer::Release(const Flow& flow, State& state, uint32_t first, uint32_t second)
{
    int64_t* counters = Counters(flow.src, flow.dst / m_steering.hosts_per_leaf);
    auto at = state.unacknowledged.lower_bound(first);
    while (at != state.unacknowledged.end() && at->second.end <= second)
    {
        for (const uint8_t path : at->second.paths)
        {
            counters[path] -= at->second.end - at->first;
        }
        at = state.unacknowledged.erase(at);
    }
}

int64_t
Steerer::InFlight() const
{
    int64_t bytes = 0;
    for (const auto& [key, counters] : m_counters)
    {
        bytes += std::accumulate(counters.begin(), counters.end(), int64_t{0});
    }
    return bytes;
}

void
Steerer::Arrived(uint32_t from, uint32_t at, const Segment& segment, int64_t now_ns)
{
    size_t index;
    bool forward;
    if (!segment.has_ack || !Find(from, at, segment, index, forward) || forward)
    {
        return;
    }
    Flow& flow = m_flows[index];
    if (flow.acked_ns < 0 && segment.ack > flow.bytes)
    {
        flow.acked_ns = now_ns - flow.start_ns;
    }
    if (m_steering.policy == "inflight")
    {
        State& state = m_states[index];
        Release(flow, state, 0, segment.ack);
        for (const auto& [first, second] : segment.sacked)
        {
            Release(flow, state, first, second);
        }
    }
}
