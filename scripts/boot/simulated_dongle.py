"""The simulator as a service of the machine, in the place of a dongle and its network of two lamps."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from scripts.boot.machine import CLONE, Root, expect

AIR = "/run/simulator.sock"
TCP = "127.0.0.1:6638"
LAMP = "00:0d:6f:00:0b:5d:e3:b6"
KITCHEN = "00:0d:6f:00:0b:5d:e3:c1"
NETWORK = f"""\
devices:
  - {{eui64: "{LAMP}", kind: lamp, name: lamp}}
  - {{eui64: "{KITCHEN}", kind: lamp, name: kitchen}}
"""
SIMULATOR = """\
[Service]
Type=exec
ExecStartPre=/bin/mkdir -p /dev/serial/by-id /var/lib/simulator
ExecStart=/opt/atls-gateway/bin/atls-simulator run {where} --attach-socket {air} --state /var/lib/simulator \\
  --network /root/network.yaml --scan-pace 0
ExecStartPost=/root/dongle-mode
[Install]
WantedBy=multi-user.target
"""
DONGLE_MODE = """\
#!/bin/sh
# What udev does for a dongle: the group dialout may use it.
for turn in $(seq 100); do
    if [ -e "{link}" ]; then chgrp dialout "$(readlink -f "{link}")" && chmod 660 "$(readlink -f "{link}")"; exit; fi
    sleep 0.1
done
exit 1
"""


def simulator_installed(root: Root) -> None:
    link = sample_dongle(root)
    root.path("/root/network.yaml").write_text(NETWORK)
    mode = root.path("/root/dongle-mode")
    mode.write_text(DONGLE_MODE.format(link=link))
    mode.chmod(0o755)
    run_simulator(root, f"--pty {link}")
    shutil.copy(Path(__file__).with_name("probe.py"), root.path("/usr/local/lib/probe.py"))
    root.inside("systemctl enable simulator >/dev/null 2>&1")


def run_simulator(root: Root, where: str) -> None:
    text = SIMULATOR.format(where=where, air=AIR)
    if "--tcp" in where:
        text = text.replace("ExecStartPost=/root/dongle-mode\n", "")
    root.path("/etc/systemd/system/simulator.service").write_text(text)


def sample_dongle(root: Root) -> str:
    found = re.search(r"^    path: (/dev/\S+)$", root.path(f"{CLONE}/config/gateway.yaml").read_text(), re.M)
    expect(found, "a dongle in the sample config")
    assert found is not None
    return found[1]
