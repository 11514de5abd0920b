#!/bin/sh
# Installs the system packages that some tests use, where it may; elsewhere says what is missing and what is skipped.
set -u
missing=""
need() { command -v "$1" >/dev/null 2>&1 || PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need tshark tshark
need tcpdump tcpdump
need tcpreplay tcpreplay
need ip iproute2
need ethtool ethtool
need vtysh frr
need chromium chromium
# Another compiler than the one that made the steering program makes other instructions.
grep -q 'VERSION_CODENAME=bookworm' /etc/os-release 2>/dev/null && need clang-14 clang-14
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing:$missing"
    # shellcheck disable=SC2086
    if apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null; then
        exit 0
    fi
fi
echo "Not installed:$missing. The tests that use them are skipped, each with its reason."
echo "To run them too, as root: apt-get install$missing"
