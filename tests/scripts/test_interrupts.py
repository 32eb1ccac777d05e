"""SIGINT ends what the tests start, though a shell that starts a run with & has it ignored in all that comes of it."""

from __future__ import annotations

import signal
import subprocess
import sys


def test_an_interrupt_ends_a_process() -> None:
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == -signal.SIGINT


def test_so_it_is_in_a_run_in_the_background() -> None:
    test = f"{__file__}::{test_an_interrupt_ends_a_process.__name__}"
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-m", "pytest", "-q", test]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
