"""What the process does to itself: import guard, core files, memory, folders. Each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.runtime import harden

ROOT = Path(__file__).parents[3]


def in_process(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("statement", ["import endpoint", "import endpoint.session", "from endpoint import session"])
def test_the_code_of_the_endpoint_is_refused(statement):
    code = f"""
from gateway.runtime import guard
guard.install(); guard.install()
try:
    {statement}
except ImportError as error:
    print(error)
import json.tool, layer.errors
"""
    assert in_process(code).endswith("holds layer 0 and must not be loaded in the gateway's process")


def test_the_guard_comes_too_late_where_the_endpoint_is_loaded():
    code = """
import endpoint
from gateway.runtime import guard
try:
    guard.install()
except ImportError as error:
    print(error)
"""
    assert in_process(code) == "endpoint was loaded before the guard"


PROBE = """
import ctypes, os, resource
from gateway.runtime import harden
resource.setrlimit(resource.RLIMIT_CORE, (4096, 8192))
harden.before_secrets()
print(resource.getrlimit(resource.RLIMIT_CORE)[0], oct(os.umask(0)), end=" ")
harden.as_configured(core_dumps={core}, hide_memory={hide})
print(*resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


def test_no_core_file_and_files_for_our_user_only():
    assert in_process(PROBE.format(core=False, hide=False)) == "0 0o77 0 0 1"


def test_core_files_come_back_where_asked_for_and_memory_can_be_hidden():
    assert in_process(PROBE.format(core=True, hide=True)) == "0 0o77 8192 8192 0"


def test_a_folder_is_made_for_us_only(tmp_path):
    harden.folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_another_user_is_refused_the_services_folder_and_learns_its_owner(tmp_path, monkeypatch):
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with pytest.raises(
        ValueError, match=rf"this user owns: this one is user {user}'s \(the service's\? then: systemctl"
    ):
        harden.folder(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(ValueError, match="expected a folder that can be made: File exists"):
        harden.folder(tmp_path / "a")
