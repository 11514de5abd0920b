// The list of flows, and what was seen of each.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

struct Flow
{
    std::string name;
    int64_t start_ns = 0;
    uint32_t src = 0; // hosts are counted leaf by leaf from 0
    uint32_t dst = 0;
    uint32_t bytes = 0;
    int path = -1; // -1: none given

    // What was seen of it; -1: not yet.
    int64_t received_ns = -1; // from start_ns to the last byte in order at the receiver
    int64_t acked_ns = -1;    // from start_ns to its acknowledgement at the sender
    uint32_t retransmissions = 0;
    uint32_t timeouts = 0;
    uint32_t fast_recoveries = 0;
    uint32_t syns = 0;
    uint32_t flowlets = 0;
    uint32_t path_changes = 0;
};

// Reads flow,start_ns,src,dst,bytes[,path] in any order of columns (`spine` is taken for `path`).
// Ends the program with one line on stderr and status 2 if the file cannot be taken.
std::vector<Flow> ReadFlows(const std::string& file, uint32_t hosts, uint32_t spines);

// Writes a row per flow; unfinished ones have empty times.
void WriteFlows(const std::string& file, const std::vector<Flow>& flows);

[[noreturn]] void Refuse(const std::string& why);
