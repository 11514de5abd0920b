"""A small SRv6 network in namespaces: two shaped paths between two hosts, in both directions; needs root."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

HOST_MAC = "02:00:00:00:00:01"  # of rewritten frames, as scenarios have it
GATE_MAC = "02:00:00:00:00:02"
_TOOLS = ("ip", "tc", "tcpreplay", "tcpdump")
_LINKS = (  # (node, interface, MAC), (node, interface, MAC)
    (("s", "e0", HOST_MAC), ("l1", "h0", GATE_MAC)),
    (("d", "e0", HOST_MAC), ("l2", "h0", GATE_MAC)),
    (("l1", "u0", "02:00:00:00:01:01"), ("p0", "d0", "02:00:00:00:01:02")),
    (("l2", "u0", "02:00:00:00:02:01"), ("p0", "d1", "02:00:00:00:02:02")),
    (("l1", "u1", "02:00:00:00:03:01"), ("p1", "d0", "02:00:00:00:03:02")),
    (("l2", "u1", "02:00:00:00:04:01"), ("p1", "d1", "02:00:00:00:04:02")),
)


def run(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)}: {ran.stderr.strip()}")
    return ran.stdout


def need() -> None:
    """Skip where such a network cannot be built."""
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    for tool in _TOOLS:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


class Lab:
    """Hosts s and d, leaves l1 and l2, spines p0 and p1; shapers (rate, burst, limit) where leaves send to spines."""

    def __init__(self, shapers: Sequence[tuple[int, int, int]]) -> None:
        self.shapers = shapers
        self.names = {node: f"sgme{os.getpid()}-{node}" for node in ("s", "d", "l1", "l2", "p0", "p1")}

    def inside(self, node: str, *command: str) -> str:
        return run("ip", "netns", "exec", self.names[node], *command)

    def _ip(self, node: str, text: str) -> None:
        run("ip", "-n", self.names[node], *text.split())

    def up(self) -> None:
        for name in self.names.values():
            run("ip", "netns", "add", name)
        for node in self.names:
            self._ip(node, "link set lo up")
            for key in ("net.ipv6.conf.all.forwarding=1", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0"):
                if node not in ("s", "d"):
                    self.inside(node, "sysctl", "-qw", key)
        for number, ends in enumerate(_LINKS):
            (a, ia, ma), (b, ib, mb) = ends
            run(
                *f"ip link add {ia} address {ma} mtu 2000 netns {self.names[a]} type veth "
                f"peer name {ib} address {mb} mtu 2000 netns {self.names[b]}".split()
            )
            for place, (node, device, _) in enumerate(ends, start=1):
                self._ip(node, f"addr add fc00:{number + 1}::{place}/64 dev {device} nodad")
                self._ip(node, f"addr add 10.99.{number + 1}.{place}/24 dev {device}")
                self._ip(node, f"link set {device} up")
                self.inside(node, "sysctl", "-qw", f"net.ipv4.conf.{device}.rp_filter=0")
            for (node, device, _), (place, mac) in zip(ends, ((2, mb), (1, ma)), strict=True):
                for address in (f"fc00:{number + 1}::{place}", f"10.99.{number + 1}.{place}"):
                    self._ip(node, f"neigh replace {address} lladdr {mac} dev {device} nud permanent")
        for spine, links in (("p0", (3, 4)), ("p1", (5, 6))):
            sid = int(spine[1]) + 0x1000
            self._ip(spine, f"-6 route add fd00:0:{sid:x}::1/128 encap seg6local action End dev d0")
            self._ip(spine, f"-6 route add fd00:0:10::/48 via fc00:{links[0]}::1 dev d0")
            self._ip(spine, f"-6 route add fd00:0:20::/48 via fc00:{links[1]}::1 dev d1")
            for leaf, link in (("l1", links[0]), ("l2", links[1])):
                self._ip(leaf, f"-6 route add fd00:0:{sid:x}::/48 via fc00:{link}::2 dev u{spine[1]}")
        for leaf, block, link in (("l1", 10, 1), ("l2", 20, 2)):
            head = f"-6 route add fd00:0:{block}::"
            self._ip(leaf, f"{head}d6/128 encap seg6local action End.DX6 nh6 fc00:{link}::1 dev h0")
            # Through a gateway: to a neighbour, the kernel would look for the inner destination on the link instead.
            self._ip(leaf, f"route add 192.0.2.{link}/32 via 10.99.{link}.1 dev h0")
            self._ip(leaf, f"{head}d4/128 encap seg6local action End.DX4 nh4 192.0.2.{link} dev h0")
            for spine, (rate, burst, limit) in enumerate(self.shapers):
                shaper = f"tc qdisc add dev u{spine} root tbf rate {rate}bit burst {burst} limit {limit}"
                self.inside(leaf, *shaper.split())

    def down(self) -> None:
        for name in self.names.values():
            with contextlib.suppress(RuntimeError):
                run("ip", "netns", "del", name)

    def send(self, pcaps: dict[str, Path], out: Path) -> None:
        """Send each host's capture with tcpreplay, all hosts captured at both ends: sent/ and received/."""
        started = []
        for host in ("s", "d"):
            for way in ("sent", "received"):
                (out / way).mkdir(parents=True, exist_ok=True)
                side = "out" if way == "sent" else "in"
                command = ["tcpdump", "-i", "e0", "-Q", side, "--time-stamp-precision=nano", "-B", "32768", "-s", "300"]
                command = [
                    "ip",
                    "netns",
                    "exec",
                    self.names[host],
                    *command,
                    "-Z",
                    "root",
                    "-w",
                    str(out / way / f"{host}.pcap"),
                ]
                started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        try:
            time.sleep(1.5)
            senders = []
            for host, pcap in pcaps.items():
                command = [
                    "ip",
                    "netns",
                    "exec",
                    self.names[host],
                    "tcpreplay",
                    "-q",
                    "--timer=gtod",
                    "-i",
                    "e0",
                    str(pcap),
                ]
                senders.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            for sender in senders:
                assert sender.wait(timeout=120) == 0
            time.sleep(2.5)
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
            for process in started:
                process.wait(timeout=20)


@contextlib.contextmanager
def lab(shapers: Sequence[tuple[int, int, int]]) -> Iterator[Lab]:
    """A network that is gone afterwards; skips where it cannot be built."""
    need()
    built = Lab(shapers)
    try:
        try:
            built.up()
        except RuntimeError as error:
            pytest.skip(f"no such network here: {error}")
        yield built
    finally:
        built.down()
