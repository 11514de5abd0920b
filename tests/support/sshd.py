"""Machines behind real ssh: namespaces with an sshd each, reached through a line that takes a while."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

TOOLS = "/usr/sbin:/usr/bin:/sbin:/bin"
ADDRESS = "198.18.7.2"

# A connection within a namespace whose bytes arrive later than they are sent, in both directions.
LINE = """
import os, selectors, socket, sys, time
from collections import deque
delay_ns = int(float(sys.argv[3]) * 5e8)
wire = socket.create_connection((sys.argv[1], int(sys.argv[2])))
wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
ways = {0: (wire.fileno(), deque()), wire.fileno(): (1, deque())}
open_ends = set(ways)
chosen = selectors.DefaultSelector()
for end in ways:
    chosen.register(end, selectors.EVENT_READ)
while any(end in open_ends or queue for end, (_, queue) in ways.items()):
    waits = [queue[0][0] for _, queue in ways.values() if queue]
    left = max(0, min(waits) - time.monotonic_ns()) / 1e9 if waits else None
    for key, _ in chosen.select(left) if open_ends else [time.sleep(left or 0)] and []:
        data = os.read(key.fd, 65536)
        ways[key.fd][1].append((time.monotonic_ns() + delay_ns, data))
        if not data:
            chosen.unregister(key.fd)
            open_ends.discard(key.fd)
    for target, queue in ways.values():
        while queue and queue[0][0] <= time.monotonic_ns():
            data = queue.popleft()[1]
            if not data:
                if target == 1:
                    sys.exit(0)
                wire.shutdown(socket.SHUT_WR)
            while data:
                data = data[os.write(target, data):]
"""


def missing_sshd() -> str | None:
    """Why no sshd can run here, None if one can."""
    for tool in ("sshd", "ssh", "ssh-keygen"):
        if shutil.which(tool, path=TOOLS) is None:
            return f"{tool} is not installed (apt-get install openssh-server)"
    return None


class Ssh:
    """What `ssh` does within the test: `delay` seconds are added to every round trip."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._delay = folder / "delay"
        self._log = folder / "ssh.log"
        self.slow(0)

    def slow(self, seconds: float) -> None:
        self._delay.write_text(str(seconds))

    def folders(self) -> set[Path]:
        """The folders that were used on machines."""
        return {Path(name) for name in re.findall(r"/tmp/segcast-run-\w{12}\b", self._log.read_text())}

    def connections(self) -> int:
        """How many connections were made so far."""
        return (
            len((self._folder / "lines.log").read_text().splitlines()) if (self._folder / "lines.log").exists() else 0
        )


@contextmanager
def machines(folder: Path, namespaces: list[str], patch: pytest.MonkeyPatch) -> Iterator[Ssh]:
    """An sshd in each namespace, on an interface `mgmt` of its own; `root@NAMESPACE` leads there."""
    folder.mkdir()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    (folder / "known").write_text(f"* {(folder / 'host.pub').read_text()}")
    (folder / "sshd.conf").write_text(
        f"ListenAddress {ADDRESS}:22\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\nStrictModes no\n"
        f"UsePAM no\nPidFile none\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
    )
    (folder / "line.py").write_text(LINE)
    (folder / "line").write_text(
        f"#!/bin/sh\necho $1 >> {folder}/lines.log\n"
        f'exec ip netns exec "$1" {sys.executable} {folder}/line.py {ADDRESS} 22 "$(cat {folder}/delay)"\n'
    )
    (folder / "line").chmod(0o755)
    (folder / "ssh.conf").write_text(
        f"Host *\n User root\n IdentityFile {folder}/user\n UserKnownHostsFile {folder}/known\n"
        f" ProxyCommand {folder}/line %h\n LogLevel ERROR\n"
    )
    tools = folder / "bin"
    tools.mkdir()
    (tools / "ssh").write_text(
        f'#!/bin/sh\necho "$*" >> {folder}/ssh.log\nexec /usr/bin/ssh -F {folder}/ssh.conf "$@"\n'
    )
    (tools / "ssh").chmod(0o755)
    patch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    Path("/run/sshd").mkdir(exist_ok=True)
    made = Ssh(folder)
    daemons = []
    sshd = shutil.which("sshd", path=TOOLS)
    assert sshd is not None
    try:
        for space in namespaces:
            subprocess.run(
                ["ip", "-n", space, "link", "add", "mgmt", "type", "veth", "peer", "name", "mgmt-peer"], check=True
            )
            subprocess.run(["ip", "-n", space, "link", "set", "mgmt-peer", "up"], check=True)
            subprocess.run(["ip", "-n", space, "link", "set", "mgmt", "up"], check=True)
            subprocess.run(["ip", "-n", space, "link", "set", "lo", "up"], check=True)
            subprocess.run(["ip", "-n", space, "addr", "add", f"{ADDRESS}/24", "dev", "mgmt"], check=True)
            command = ["ip", "netns", "exec", space, sshd, "-D", "-e", "-f", folder / "sshd.conf"]
            with (folder / f"sshd-{space}.log").open("wb") as log:
                daemons.append(subprocess.Popen(command, stdout=log, stderr=log))
        for space in namespaces:
            end = time.monotonic() + 20
            while (
                subprocess.run(
                    [tools / "ssh", "-o", "BatchMode=yes", f"root@{space}", "true"], capture_output=True, check=False
                ).returncode
                and time.monotonic() < end
            ):
                time.sleep(0.1)
        (folder / "lines.log").unlink(missing_ok=True)
        yield made
    finally:
        for daemon in daemons:
            daemon.terminate()
            daemon.wait()
        for space in namespaces:
            subprocess.run(["ip", "-n", space, "link", "del", "mgmt"], check=False, capture_output=True)
