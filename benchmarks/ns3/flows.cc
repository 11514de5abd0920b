#include "flows.h"

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <limits>
#include <map>
#include <sstream>

void
Refuse(const std::string& why)
{
    std::cerr << "error: " << why << "\n";
    std::exit(2);
}

static int64_t
Whole(const std::string& text, int64_t low, int64_t high, const std::string& where)
{
    char* end = nullptr;
    const long long value = std::strtoll(text.c_str(), &end, 10);
    if (text.empty() || *end != '\0' || value < low || value > high)
    {
        Refuse(where + ": '" + text + "' is not a whole number from " + std::to_string(low) + " to " +
               std::to_string(high));
    }
    return value;
}

static std::vector<std::string>
Fields(std::string line)
{
    if (!line.empty() && line.back() == '\r')
    {
        line.pop_back();
    }
    std::vector<std::string> fields;
    std::istringstream in(line);
    for (std::string field; std::getline(in, field, ',');)
    {
        fields.push_back(field);
    }
    if (!line.empty() && line.back() == ',')
    {
        fields.emplace_back();
    }
    return fields;
}

std::vector<Flow>
ReadFlows(const std::string& file, uint32_t hosts, uint32_t spines)
{
    std::ifstream in(file);
    std::string line;
    if (!in || !std::getline(in, line))
    {
        Refuse(file + ": cannot be read");
    }
    std::map<std::string, size_t> columns;
    const std::vector<std::string> header = Fields(line);
    for (size_t i = 0; i < header.size(); i++)
    {
        columns[header[i] == "spine" ? "path" : header[i]] = i;
    }
    for (const char* name : {"flow", "start_ns", "src", "dst", "bytes"})
    {
        if (!columns.count(name))
        {
            Refuse(file + ": line 1: no column " + name);
        }
    }
    std::vector<Flow> flows;
    for (int number = 2; std::getline(in, line); number++)
    {
        const std::vector<std::string> fields = Fields(line);
        const std::string where = file + ": line " + std::to_string(number) + ": ";
        if (fields.size() != header.size())
        {
            Refuse(where + std::to_string(fields.size()) + " fields, the header has " +
                   std::to_string(header.size()));
        }
        Flow flow;
        flow.name = fields[columns["flow"]];
        flow.start_ns = Whole(fields[columns["start_ns"]], 0, int64_t{1} << 60, where + "start_ns");
        flow.src = Whole(fields[columns["src"]], 0, hosts - 1, where + "src");
        flow.dst = Whole(fields[columns["dst"]], 0, hosts - 1, where + "dst");
        flow.bytes = Whole(fields[columns["bytes"]], 1, 2000000000, where + "bytes");
        if (columns.count("path") && !fields[columns["path"]].empty())
        {
            flow.path = Whole(fields[columns["path"]], 0, spines - 1, where + "path");
        }
        if (flow.src == flow.dst)
        {
            Refuse(where + "src and dst are the same host");
        }
        flows.push_back(flow);
    }
    return flows;
}

void
WriteFlows(const std::string& file, const std::vector<Flow>& flows)
{
    std::ofstream out(file);
    const auto time = [](int64_t ns) { return ns < 0 ? std::string() : std::to_string(ns); };
    out << "flow,bytes,fct_ns,acked_ns,retransmissions,rto,fast_recoveries,syns,flowlets,path_changes\n";
    for (const Flow& flow : flows)
    {
        out << flow.name << ',' << flow.bytes << ',' << time(flow.received_ns) << ','
            << time(flow.acked_ns) << ',' << flow.retransmissions << ',' << flow.timeouts << ','
            << flow.fast_recoveries << ',' << flow.syns << ',' << flow.flowlets << ','
            << flow.path_changes << '\n';
    }
    if (!out.flush())
    {
        Refuse(file + ": cannot be written");
    }
}
