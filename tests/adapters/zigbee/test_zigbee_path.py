"""check-config refuses a path that can't be a dongle's if it can know; at run time the adapter says so."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from adapters.zigbee.config import ZigbeeConfig
from adapters.zigbee.coordinator import Coordinator
from adapters.zigbee.device import DeviceRecords
from adapters.zigbee.plugin import ZigbeePlugin
from adapters.zigbee.radio_port import RadioSettings
from gateway.api.errors import ConfigError, TransportError

FORM = "expected a serial device such as /dev/serial/by-id/NAME, or socket://HOST:PORT"


@pytest.mark.parametrize(
    "path", ["socket://127.0.0.1", "mdns://slzb-06", "socket://host:0", "socket://host:99999", "tcp://:6638",
             "http://host:80", "socket://ho st:1", "socket://host:6638/x", "esphome://host:6053", "://"]
)  # fmt: skip
def test_a_url_that_no_dongle_has(path: str) -> None:
    with pytest.raises(ValueError, match=re.escape(FORM)):
        ZigbeeConfig.model_validate({"path": path})


@pytest.mark.parametrize(
    "path", ["socket://127.0.0.1:6638", "tcp://slzb-06.local:6638", "socket://[fe80::1%eth0]:6638", "socket://host:1/",
             "rfc2217://host:2217", "/dev/serial/by-id/usb-x", "ttyUSB0"]
)  # fmt: skip
def test_paths_of_dongles(path: str, tmp_path: Path) -> None:
    ZigbeePlugin().configure(ZigbeeConfig.model_validate({"path": path}), tmp_path)


def test_what_is_there_and_is_no_dongle(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    found = {}
    for path in ("plain", "folder", "fifo", "/dev/null", "/dev/zero"):
        with pytest.raises(ConfigError) as raised:
            ZigbeePlugin().configure(ZigbeeConfig.model_validate({"path": path}), tmp_path)
        assert raised.value.key == "path"
        found[path] = raised.value.expected.rpartition("; this is ")[2]
        assert raised.value.expected.startswith(FORM)
    no_port = "a device that is no serial port"
    assert found == {
        "plain": "a file", "folder": "a folder", "fifo": "no serial port", "/dev/null": no_port, "/dev/zero": no_port
    }  # fmt: skip


@pytest.mark.parametrize("path", ["plain", "folder", "/dev/null", "socket://127.0.0.1:1", "missing", "/dev/tty"])
async def test_no_exception_of_a_library_is_a_message(path: str, tmp_path: Path) -> None:
    """They can take the place of a dongle while the gateway runs."""
    (tmp_path / "plain").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "state").mkdir()
    settings = RadioSettings(
        path=path if "://" in path else str(tmp_path / path),
        baudrate=115200,
        flow_control="software",
        channel=None,
        database=tmp_path / "state" / "zigbee.db",
        interview=5.0,
        start=10.0,
    )
    with pytest.raises(TransportError) as raised:
        await Coordinator.start(settings, None, DeviceRecords(), time.monotonic, may_form=False)  # type: ignore[arg-type]
    where, _, words = str(raised.value).rpartition(": ") if "://" in path else str(raised.value).partition(": ")
    assert where == settings.path
    assert re.match(r"[a-z][a-z' ]{12,}|No such device", words), words
    assert not re.search(r"[a-z][A-Z]|Error|Exception|Errno|^error$", words)
