#!/bin/sh
# Builds the ns-3 program beside this script. Needs g++ and Debian's libns3-dev (ns-3 3.37):
#   apt-get update && apt-get install --no-install-recommends libns3-dev
# usage: benchmarks/ns3/build.sh [PROGRAM]   (default: replay, beside this script)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec g++ -std=c++17 ${CXXFLAGS:--O2} -Wall -Wextra -o "${1:-$here/replay}" \
    "$here/replay.cc" "$here/fabric.cc" "$here/steering.cc" "$here/flows.cc" \
    -lns3-point-to-point -lns3-internet -lns3-traffic-control -lns3-network -lns3-core
