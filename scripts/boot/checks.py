"""What is tried in the booted machine, in this order; each check finds the machine as the one before left it.

The sample configs and policies are used as they are shipped, first those of ``--simple``, then those with TLS: the
dongle is a pseudo-terminal where the samples' dongle would be, and one lamp has the address of the sample's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from scripts.boot.machine import CLONE, PROJECT, Machine, Root, expect
from scripts.boot.readme import commands
from scripts.boot.simulated_dongle import AIR, KITCHEN, LAMP, TCP, run_simulator, sample_dongle, simulator_installed

UNIT = "atls-gateway"
CONFIG = "/etc/atls-gateway/gateway.yaml"
POLICY = "/etc/atls-gateway/policy.yaml"
KEYS = "/etc/atls-gateway/keys"
WATCHDOG = 12
"""Seconds, in the place of the unit's 60: systemd's part is the same, and the check needn't wait a minute for it."""
LEFT_BEHIND = "tests/data/upgrade-0.1.0/zigbee"
READY = (
    f"systemctl show -P StatusText {UNIT} | grep -qxE 'all adapters ready|[0-9]+ warnings?: see atls-gateway status' "
    f"&& systemctl -q is-active {UNIT}"
)

OPEN = "-h localhost -p 1883"
LOGIN = "-h localhost -p 8883 --cafile /etc/atls-gateway/ca.pem -u home-assistant -P $(cat /root/home-assistant)"


# Before the machine is booted: what needs the network.


def installed_as_readme_says(root: Root) -> None:
    lines = commands("A gateway at home", "pip install .")
    root.inside("\n".join(_before_the_config_is_checked(lines)))
    expect(root.path("/usr/local/bin/atls-gateway").is_symlink(), "a link where sudo finds it")
    documentation = re.search(
        r"^Documentation=file://(.*)$", root.path(f"{CLONE}/systemd/{UNIT}.service").read_text(), re.M
    )
    expect(documentation and root.path(documentation[1]).is_file(), "the page that the unit names")


def _before_the_config_is_checked(lines: list[str]) -> list[str]:
    """README goes on with commands for a dongle that is plugged in; they are replayed once it is."""
    return lines[: next(n for n, line in enumerate(lines) if line.startswith("atls-gateway "))]


def clients_installed(root: Root) -> None:
    """What only this test needs."""
    root.inside("apt-get install -y -qq --no-install-recommends mosquitto-clients libcoap3-bin >/dev/null 2>&1")


# In the booted machine.


def tried_in_the_foreground(m: Machine) -> None:
    lines = commands("A gateway at home", "pip install .")
    for line in lines[len(_before_the_config_is_checked(lines)) :]:
        if line.startswith("atls-gateway radios"):
            m.run(line, (0, 1))  # USB is none of a container's
        elif line.startswith("atls-gateway run"):
            m.run("cd / && atls-gateway run --dry-run")  # the start itself is the service's
        else:
            m.run(f"cd {CLONE} && {line}")


def started_as_readme_says(m: Machine) -> None:
    _replay(m, commands("As a service", "enable --now"))
    m.until(READY, "the service is active and all adapters are ready")
    expect(m.run(f"systemctl show -P NRestarts {UNIT}").strip() == "0", "no restart on the way")


def _replay(m: Machine, lines: list[str]) -> str:
    return m.run(f"cd {CLONE}\n" + "\n".join(lines))


def a_lamp_joins_is_named_and_switched(m: Machine) -> None:
    m.run("atls-gateway permit-join --seconds 120")
    for eui64 in (LAMP, KITCHEN):
        m.until(f"atls-gateway devices show {eui64} | grep -q 'state'", f"{eui64} is in the network, and interviewed")
    m.run("atls-gateway permit-join --close")
    m.run(f"atls-gateway devices name {KITCHEN} kitchen")
    switched(m, "kitchen", "ON", OPEN)


def a_broker_with_logins_and_tls_as_readme_says(m: Machine) -> None:
    said = _replay(m, commands("A broker with logins and TLS", "broker-setup"))
    password = re.search(r"^ +home-assistant +(\S+)$", said, re.M)
    expect(password, f"a password for home-assistant: {said}")
    assert password is not None
    m.root.path("/root/home-assistant").write_text(password[1])
    _, _, left = said.partition("Left to do")
    m.run("\n".join(line for line in left.splitlines() if line.startswith("  ")))


def a_ca_that_only_root_can_read_is_told(m: Machine) -> None:
    lines = commands("As a service", "s|^#Load|Load|")
    m.run("chmod 600 /etc/atls-gateway/ca.pem")
    _replay(m, lines[: next(n for n, line in enumerate(lines) if "--as-service" in line)])
    said = m.run("atls-gateway check-config --as-service", 78)
    wanted = (
        "adapters.mqtt.ca_file: expected a file that the service can read: /etc/atls-gateway/ca.pem: can't be opened"
    )
    expect(wanted in said, f"{wanted!r} in {said!r}")
    _ends_for_good(m, 78)
    expect("ca.pem: can't be opened: Permission denied" in m.run(f"journalctl -u {UNIT} -n 20"), "why, in the journal")
    m.run("chmod 644 /etc/atls-gateway/ca.pem")


def started_with_tls_as_readme_says(m: Machine) -> None:
    _replay(m, commands("As a service", "s|^#Load|Load|"))
    m.until(READY, "the service is active and all adapters are ready")
    switched(m, "lamp", "ON")
    switched(m, "kitchen", "OFF")
    said = m.run("atls-gateway clients add laptop --text | tee /root/laptop")
    expect("systemctl restart" in said, f"that the service reads a new key when it is started: {said}")
    key = m.run("sed -n 's/^ *key *\\([0-9a-f]*\\).*/\\1/p' /root/laptop").strip()
    m.run(f"sed -i 's/^  phone: .*/&\\n  laptop: {{link: coap, psk_identity: laptop}}/' {POLICY}")
    m.run(f"sed -i 's/^    subject: phone$/    subject: [phone, laptop]/' {POLICY}; systemctl restart {UNIT}")
    m.until(READY, "ready with the new key")
    m.until(
        f"timeout 20 coap-client-openssl -u laptop -k {key} coaps://localhost/d/lamp/state | grep -q .",
        "the state of the lamp over CoAP, with a key as text",
    )


def credentials_are_the_services_own(m: Machine) -> None:
    user = m.run(f"stat -c %u /proc/$(systemctl show -P MainPID {UNIT})")
    expect(int(user.split()[0]) >= 61184, f"a dynamic user, not {user}")
    mode = m.run("stat -c %a /run/credentials/atls-gateway.service").strip()
    expect(mode in ("500", "550"), f"credentials for the service only (group bits: the access list's), not {mode}")
    found = m.run("ls /run/credentials/atls-gateway.service").split()
    expect(found == ["coap-keys", "mqtt-password"], f"the two credentials, not {found}")
    expect(m.run(f"stat -c %a {KEYS}").strip() == "700", "keys that the service itself can't read")


def switched(m: Machine, name: str, state: str, login: str = LOGIN) -> None:
    """Over MQTT, until the device itself has said that it did."""
    answer = f"timeout 30 mosquitto_sub {login} -t home/{name}/answer -C 1 > /run/answer & heard=$!; sleep 0.5; "
    order = f'mosquitto_pub {login} -t home/{name}/set -m \'{{"state": "{state}"}}\'; wait $heard; '
    m.until(f"{answer}{order}grep -q delivered /run/answer", f"{name} is switched {state}: delivered", 60)


def a_reload_takes_what_changed(m: Machine) -> None:
    m.run(f"sed -i 's/^  log_level: info/  log_level: debug/' {CONFIG}")
    m.run(f"systemctl reload {UNIT}")
    m.until(f"journalctl -u {UNIT} | grep -q 'gateway.log_level has changed'", "the reload in the journal")
    m.run(f"sed -i 's/^  log_level: debug/  log_level: info/' {CONFIG}; systemctl reload {UNIT}")
    m.until(READY, "ready after the reload")


def a_reload_of_mistakes_fails_and_changes_nothing(m: Machine) -> None:
    before = m.run(f"systemctl show -P MainPID {UNIT}")
    for mistake in ("s/^layer: 1/layer: 2/", "s/^gateway:/gateway: [/"):  # a value, and what isn't even YAML
        m.run(f"cp {CONFIG} /root/good.yaml; sed -i '{mistake}' {CONFIG}")
        said = m.run(f"systemctl reload {UNIT}", 1)
        expect("failed" in said.lower(), f"systemctl says that it failed: {said}")
        m.until(
            f"systemctl show -P StatusText {UNIT} | grep -q 'the last reload failed.*gateway.yaml'", "its Status: tells"
        )
        expect(m.run(f"systemctl is-active {UNIT}").strip() == "active", "the service goes on")
        m.run(f"cat /root/good.yaml > {CONFIG}; systemctl reload {UNIT}")
        m.until(READY, "all is well after a good reload")
    expect(m.run(f"systemctl show -P MainPID {UNIT}") == before, "the same process all the time")


def killed_it_comes_back_with_its_state(m: Machine) -> None:
    before = int(m.run(f"systemctl show -P NRestarts {UNIT}"))
    m.run(f"kill -9 $(systemctl show -P MainPID {UNIT})")
    m.until(f"[ $(systemctl show -P NRestarts {UNIT}) = {before + 1} ]", "one restart by systemd")
    m.until(READY, "ready again")
    expect(LAMP in m.run("atls-gateway devices --json"), "the lamp is still a member")
    switched(m, "lamp", "OFF")


def a_process_that_hangs_is_restarted(m: Machine) -> None:
    folder = f"/run/systemd/system/{UNIT}.service.d"
    m.run(f"mkdir -p {folder}; printf '[Service]\\nWatchdogSec={WATCHDOG}\\n' > {folder}/watchdog.conf")
    m.run(f"systemctl daemon-reload; systemctl restart {UNIT}")
    m.until(READY, "ready after the restart")
    m.run(f"kill -STOP $(systemctl show -P MainPID {UNIT})")
    m.until(f"[ $(systemctl show -P NRestarts {UNIT}) = 1 ]", "the watchdog's restart", WATCHDOG * 3)
    m.until(READY, "ready again")
    expect("Watchdog timeout" in m.run(f"journalctl -u {UNIT}"), "the watchdog in the journal")
    m.run(f"rm -r {folder}; systemctl daemon-reload; systemctl restart {UNIT}")
    m.until(READY, "ready with the unit's own watchdog")


def a_config_that_can_not_be_used_is_not_tried_again(m: Machine) -> None:
    m.run(f"cp {CONFIG} /root/good.yaml; sed -i 's/^layer: 1/layer: 2/' {CONFIG}")
    _ends_for_good(m, 78)
    expect("gateway.yaml:" in m.run(f"journalctl -u {UNIT} -n 20"), "the line with the mistake in the journal")
    m.run(f"cat /root/good.yaml > {CONFIG}")


def a_missing_credential_is_not_tried_again(m: Machine) -> None:
    m.run(f"mv {KEYS}/coap-keys /root/")
    _ends_for_good(m, 243)
    said = m.run("atls-gateway check-config --as-service", 78)
    expect(f"{KEYS}/coap-keys isn't there" in said, f"which file is missing: {said}")
    m.run(f"mv /root/coap-keys {KEYS}/; systemctl reset-failed {UNIT}; systemctl start {UNIT}")
    m.until(READY, "ready once all is there")


def _ends_for_good(m: Machine, status: int) -> None:
    m.run(f"systemctl restart {UNIT}", (0, 1))
    m.until(f"[ $(systemctl show -P ActiveState {UNIT}) = failed ]", "the service has failed")
    found = m.run(f"sleep 4; systemctl show -P ExecMainStatus -P NRestarts -P ActiveState {UNIT}").split()
    expect(sorted(found) == sorted([str(status), "0", "failed"]), f"status {status}, no restart, failed; not {found}")


def pulled_and_plugged_in_again(m: Machine) -> None:
    m.run(f"atls-simulator ctl {AIR} dongle unplug")
    m.until(f"systemctl show -P StatusText {UNIT} | grep -q '^zigbee: '", "its Status: tells that the dongle is gone")
    expect(m.run(f"systemctl is-active {UNIT}").strip() == "active", "the service goes on")
    m.run(f"atls-simulator ctl {AIR} dongle replug; /root/dongle-mode")
    m.until(READY, "ready by itself", 60)
    switched(m, "lamp", "ON")


def a_dongle_in_the_network(m: Machine) -> None:
    pty = sample_dongle(m.root)
    for where, path in ((f"--tcp {TCP}", f"socket://{TCP}"), (f"--pty {pty}", pty)):
        run_simulator(m.root, where)
        m.run("systemctl daemon-reload; systemctl restart simulator")
        m.run(f"sed -i 's|^    path: .*|    path: {path}|' {CONFIG}")
        m.until(f"systemctl reload {UNIT}", "the reload")
        m.until(READY, f"ready at {path}", 60)
        switched(m, "lamp", "OFF")


def the_sandbox_is_on(m: Machine) -> None:
    folders = (
        "/etc /usr /opt /var/lib /var/log /root /home /run /etc/atls-gateway /boot / /dev/shm /dev/mqueue /var/spool"
    )
    closed = [f"write:{folder}" for folder in folders.split()]
    hidden = ["/etc/shadow", f"{KEYS}/coap-keys", "/root/home-assistant", "/etc/mosquitto/atls-gateway/passwords",
              "/run/credentials/atls-gateway.service/coap-keys", "/var/lib/private/atls-gateway/store.db",
              "/run/atls-gateway/admin.sock", "/proc/kcore", "/proc/1/environ"]  # fmt: skip
    closed += [f"read:{path}" for path in hidden]
    closed += ["netlink", "packet", "port:80", "ptrace", "namespace", "setuid", "hostname"]
    allowed = ["write:/var/lib/probe", "write:/run/probe", "write:/tmp", "write:/var/tmp", "write+execute", "port:5699"]
    found = _probed(m, closed + allowed)
    expect(not (wide := [door for door in closed if found[door] == "open"]), f"closed doors, open are {wide}")
    shut = {door: found[door] for door in allowed if found[door] != "open"}
    expect(not shut, f"open doors, closed are {shut}")
    for door in ("netlink", "packet"):
        expect(found[door] == "EAFNOSUPPORT", f"{door} refused as no such family, not {found[door]}")


def dongles_by_number_and_nothing_else(m: Machine) -> None:
    nodes = {"ttyUSB9": (188, 9), "ttyACM9": (166, 9), "ttyAMA9": (204, 73), "ttyS9": (4, 73), "loop9": (7, 9)}
    for name, (major, minor) in nodes.items():
        m.run(f"[ -e /dev/{name} ] || mknod -m 660 /dev/{name} c {major} {minor}; chgrp dialout /dev/{name}")
    doors = [f"device:/dev/{name}" for name in nodes]
    found = list(_probed(m, doors).values())
    # No driver is there: ENXIO is what a node says that was let through.
    expect(
        found == ["ENXIO", "ENXIO", "EPERM", "EPERM", "EPERM"], f"USB dongles let through, all else refused: {found}"
    )
    header = f"{CLONE}/systemd/serial-header.conf"
    found = list(_probed(m, doors, drop_in=header).values())
    expect(found[:3] == ["ENXIO"] * 3, f"ttyAMA let through by the drop-in: {found}")
    expect(found[3] != "EPERM" and found[4] == "EPERM", f"ttyS let through by the drop-in, and nothing else: {found}")


def _probed(m: Machine, doors: list[str], drop_in: str | None = None) -> dict[str, str]:
    """What came of each door, tried by a unit that is the shipped one but for its program and its folders."""
    text = (PROJECT / "systemd" / f"{UNIT}.service").read_text()
    text = re.sub(
        r"^ExecStart=.*$",
        f"ExecStart=/opt/atls-gateway/bin/python /usr/local/lib/probe.py {' '.join(doors)}",
        text,
        flags=re.M,
    )
    text = re.sub(r"^(ExecReload|WatchdogSec|Restart|RestartPreventExitStatus|NotifyAccess)=.*\n", "", text, flags=re.M)
    text = re.sub(
        r"^Type=notify$", "Type=oneshot\nStandardOutput=file:/root/probed\nStandardError=journal", text, flags=re.M
    )
    text = re.sub(r"^(StateDirectory|RuntimeDirectory)=.*$", r"\1=probe", text, flags=re.M)
    m.root.path("/etc/systemd/system/probe.service").write_text(text)
    m.run("rm -rf /etc/systemd/system/probe.service.d /root/probed")
    if drop_in:
        m.run(f"install -D -m 0644 {drop_in} /etc/systemd/system/probe.service.d/x.conf")
    m.run("systemctl daemon-reload; systemctl start probe || { journalctl -u probe -n 30; exit 1; }")
    found = dict(line.rsplit(" ", 1) for line in m.run("cat /root/probed").splitlines())
    expect(list(found) == doors, f"an answer for each of {doors}: {found}")
    return found


def a_board_on_the_header_as_readme_says(m: Machine) -> None:
    m.run(f"sed -i 's|^    path: .*|    path: /dev/ttyAMA9|' {CONFIG}")
    said = m.run("atls-gateway check-config --as-service", 78)
    expect("serial-header.conf" in said, f"which drop-in it takes: {said}")
    _replay(m, commands("As a service", "serial-header.conf"))
    m.run("atls-gateway check-config --as-service")
    allowed = m.run(f"systemctl show -P DeviceAllow {UNIT}")
    expect("char-204 rw" in allowed and "char-4 rw" in allowed, f"both majors in force: {allowed}")
    m.run(f"sed -i 's|^    path: .*|    path: {sample_dongle(m.root)}|' {CONFIG}; systemctl reload {UNIT}")
    m.until(READY, "ready at the dongle again", 60)


def systemd_rates_and_accepts_it(m: Machine) -> None:
    said = m.run(f"systemd-analyze security --no-pager {UNIT}.service")
    level = re.search(r"exposure level for \S+: ([0-9.]+)", said)
    expect(level and float(level[1]) <= 1.3, f"an exposure of 1.3 or less: {said[-200:]}")
    said = m.run(f"systemd-analyze verify {UNIT}.service 2>&1")
    expect(UNIT not in said, f"nothing to complain about: {said}")


def up_again_after_a_reboot(m: Machine) -> None:
    m.shut_down()
    m.boot()
    m.until(READY, "ready without a hand", 60)
    expect(LAMP in m.run("atls-gateway devices --json"), "the lamp is still a member")
    switched(m, "lamp", "ON")


def state_of_the_earlier_release_is_taken_up(m: Machine) -> None:
    """Its policy, its state and its dongle, as 0.1.0 left them; nothing joins again."""
    m.run(f"systemctl stop {UNIT} simulator")
    old, state = f"{CLONE}/{LEFT_BEHIND}", f"/var/lib/private/{UNIT}"
    m.run(f"sed 's/broker: 127.0.0.1/broker: localhost/' {old}/policy.yaml > {POLICY}")
    m.run(f"rm -rf /var/lib/simulator {state}/*; cp {old}/network.yaml /root/network.yaml")
    m.run(f"cp -r {old}/simulator /var/lib/; cp -r {old}/state/* {state}/; chown -R --reference={state} {state}")
    m.run(f"systemctl start simulator; systemctl start {UNIT}")
    m.until(READY, "ready with the old state", 60)
    named = {device.get("name") for device in json.loads(m.run("atls-gateway devices --json"))["devices"]}
    expect({"plug", "thermometer"} <= named, f"its two devices, under their names: {named}")
    switched(m, "plug", "ON")


def taken_off_as_the_page_says(m: Machine) -> None:
    _replay(m, commands("Uninstall", "disable --now", "docs/running.md"))
    m.run(f"systemctl status {UNIT}", 4)  # no such unit
    left = m.run(
        "find / -xdev -iname '*atls*' -not -path '/proc/*' -not -path '/root/*' -not -path '/var/log/journal/*' "
        "-not -path '/run/log/*' -not -path '/run/host/*' -not -path '/sys/*'"
    ).split()
    left = [path for path in left if "/usr/share/" not in path]
    expect(not left, f"nothing of it left: {left}")


INSTALLING: tuple[Callable[[Root], None], ...] = (installed_as_readme_says, clients_installed, simulator_installed)
BOOTED: tuple[Callable[[Machine], None], ...] = (
    tried_in_the_foreground,
    started_as_readme_says,
    a_lamp_joins_is_named_and_switched,
    a_broker_with_logins_and_tls_as_readme_says,
    a_ca_that_only_root_can_read_is_told,
    started_with_tls_as_readme_says,
    credentials_are_the_services_own,
    a_reload_takes_what_changed,
    a_reload_of_mistakes_fails_and_changes_nothing,
    killed_it_comes_back_with_its_state,
    a_process_that_hangs_is_restarted,
    a_config_that_can_not_be_used_is_not_tried_again,
    a_missing_credential_is_not_tried_again,
    pulled_and_plugged_in_again,
    a_dongle_in_the_network,
    the_sandbox_is_on,
    dongles_by_number_and_nothing_else,
    a_board_on_the_header_as_readme_says,
    systemd_rates_and_accepts_it,
    up_again_after_a_reboot,
    state_of_the_earlier_release_is_taken_up,
    taken_off_as_the_page_says,
)
