"""The datagrams of sd_notify(3) and sd_watchdog_enabled(3), read from a real socket."""

from __future__ import annotations

import os
import secrets
import socket
import time

import pytest

from gateway.runtime.sd_notify import ServiceManager, kept


@pytest.fixture(params=["path", "abstract"])
def listener(request, tmp_path):
    name = str(tmp_path / "n") if request.param == "path" else "@atls-test-" + secrets.token_hex(8)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind("\0" + name[1:] if name.startswith("@") else name)
        found.settimeout(5)
        yield found, name


def test_the_daemon_notifies_the_service_manager(listener):
    heard, name = listener
    service = ServiceManager({"NOTIFY_SOCKET": name})
    service.ready("all\nwell")
    assert heard.recv(4096) == b"READY=1\nSTATUS=all well"
    service.status("x")
    assert heard.recv(4096) == b"STATUS=x"
    service.stopping()
    assert heard.recv(4096) == b"STOPPING=1"
    service.alive()
    assert heard.recv(4096) == b"WATCHDOG=1"
    before = time.monotonic_ns() // 1000
    service.reloading()
    first, second = heard.recv(4096).split(b"\n")
    assert first == b"RELOADING=1"
    assert before <= int(second.removeprefix(b"MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "60000000"}, 30.0),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"NOTIFY_SOCKET": "@x"}, None),
        ({"WATCHDOG_USEC": "60000000"}, None),
    ],
)
def test_how_often_the_watchdog_wants_to_hear(environ, seconds):
    assert ServiceManager(environ).watchdog == seconds


def test_without_a_service_manager_nothing_happens(caplog):
    ServiceManager({}).ready("fine")
    assert not caplog.records


def test_a_service_manager_that_is_gone_is_no_reason_to_end(caplog, tmp_path):
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "none")}).ready("fine")
    assert "can't be notified of READY=1" in caplog.text


@pytest.mark.parametrize(
    ("environ", "somebody"),
    [
        ({"NOTIFY_SOCKET": "/run/systemd/notify"}, True),
        ({"SYSTEMD_EXEC_PID": str(os.getpid())}, True),
        ({"SYSTEMD_EXEC_PID": str(os.getppid()), "INVOCATION_ID": "of the terminal's unit"}, False),
        ({"container": "podman"}, False),  # a shell in one: the container goes on when this process ends
        ({}, False),
    ],
)
def test_who_starts_the_daemon_again(environ, somebody):
    assert kept(environ) is somebody
