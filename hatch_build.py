"""The compiled build: ``ATLS_GATEWAY_COMPILED=1 pip install .`` turns the modules of ``MODULES`` into C by mypyc.

Without the variable the package is pure Python, which is the default and the reference. Which of the two runs is said
by ``atls-gateway --version``. What was compiled, why, and what is lost: docs/decisions, "Hot values".
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "ATLS_GATEWAY_COMPILED"
OPTIMISE = "2"
"""-O2. -O3 takes longer to compile and gains nothing that can be measured."""
GROUP = "atls_gateway_hot"
"""All modules are one shared library of this name, so that they call each other as C; each has a small one beside."""

# Each of these runs for each unit, report or command. A module belongs here if `make bench` shows that it gains, if the
# standard library and this project are all that it imports (an isolated build has nothing else), and if the tests pass
# on it: no test patches its constants, functions or methods, and none of its classes has an interpreted subclass.
# mypyc makes a list of each generator expression: one that must stop early, or may not go on, is a loop.
MODULES = (
    # Envelopes and the engine: most of what the gateway itself does with a message.
    "gateway/api/exchanges.py",
    "gateway/api/identity.py",
    "gateway/api/interactions.py",
    "gateway/api/link.py",
    "gateway/api/receipts.py",
    "gateway/api/sessions.py",
    "gateway/api/things.py",
    "gateway/engine/admission.py",
    "gateway/engine/authorizer.py",
    "gateway/engine/closes.py",
    "gateway/engine/command_fitness.py",
    "gateway/engine/command_receipts.py",
    "gateway/engine/command_rows.py",
    "gateway/engine/command_table.py",
    "gateway/engine/decision.py",
    "gateway/engine/delivery.py",
    "gateway/engine/device_commands.py",
    "gateway/engine/device_lines.py",
    "gateway/engine/device_registry.py",
    "gateway/engine/device_twin.py",
    "gateway/engine/engine.py",
    "gateway/engine/exchanges.py",
    "gateway/engine/limits.py",
    "gateway/engine/opens.py",
    "gateway/engine/outputs.py",
    "gateway/engine/remembered.py",
    "gateway/engine/session_judging.py",
    "gateway/engine/session_table.py",
    "gateway/engine/sessions.py",
    "gateway/engine/stored.py",
    "gateway/engine/subscription.py",
    "gateway/engine/subscriptions.py",
    "gateway/engine/visible.py",
    "gateway/engine/write_behind.py",
    "common/timers.py",
    "gateway/kit/fixed_timeout.py",  # a subclass of common.timers
    # Headers of (D)TLS records, of each unit.
    "layer/records.py",
    # CoAP without I/O: each datagram in and out.
    "carriage/identifiers.py",
    "carriage/coap/atls.py",
    "carriage/coap/atls_format.py",
    "carriage/coap/codes.py",
    "carriage/coap/connection.py",
    "carriage/coap/deduplication.py",
    "carriage/coap/exchange.py",
    "carriage/coap/message.py",
    "carriage/coap/message_ids.py",
    "carriage/coap/message_layer.py",
    "carriage/coap/options.py",
    "carriage/coap/server_side.py",
    # Values of devices: each report and command.
    "gateway/kit/values.py",
)

REQUIREMENTS = ("mypy>=2.4,<3", "setuptools>=77")

# Not setup(): that reads pyproject.toml, which is hatchling's.
_COMPILE = """
import sys
from mypyc.build import mypycify
from setuptools import Distribution
from setuptools.command.build_ext import build_ext
modules, group, optimise, temporary, library = sys.argv[1].split(","), *sys.argv[2:]
made = mypycify(modules, opt_level=optimise, debug_level="0", group_name=group, target_dir=temporary)
command = build_ext(Distribution({"name": group, "ext_modules": made}))
command.build_temp, command.build_lib = temporary, library
command.ensure_finalized()
command.run()
"""


class CompiledBuildHook(BuildHookInterface):  # type: ignore[type-arg, misc, unused-ignore]
    """Of hatchling, which calls ``dependencies`` and then ``initialize``; for the wheel only."""

    def dependencies(self) -> list[str]:
        return [*REQUIREMENTS] if wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not wanted():
            return
        if version == "editable":
            raise RuntimeError(f"an editable install runs the source tree: unset {VARIABLE}, or install without -e")
        check_compiler()
        folder = Path(tempfile.mkdtemp(prefix="atls-gateway-compiled-"))
        self._folder = folder
        found = compile_modules(Path(self.root), folder)
        build_data["force_include"].update({str(path): str(path.relative_to(folder / "lib")) for path in found})
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        folder = getattr(self, "_folder", None)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def wanted() -> bool:
    """Whether the environment asks for a compiled build. RuntimeError: it says neither yes nor no."""
    value = os.environ.get(VARIABLE, "")
    if value not in ("", "0", "1"):
        raise RuntimeError(f"{VARIABLE} is {value!r}; expected 1 (compiled) or 0 (pure Python, the default)")
    return value == "1"


def check_compiler() -> None:
    """RuntimeError: what is missing, and the Debian packages that have it."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    compiler = os.environ.get("CC", "").split()[0] if os.environ.get("CC") else compiler
    missing = []
    if shutil.which(compiler) is None:
        missing.append(f"a C compiler ({compiler})")
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        missing.append(f"the headers of Python ({sysconfig.get_path('include')}/Python.h)")
    if missing:
        raise RuntimeError(
            f"{VARIABLE}=1 needs {' and '.join(missing)}. On Debian: apt-get install gcc libc6-dev python3-dev. "
            f"Without {VARIABLE} the gateway is pure Python and needs no compiler."
        )


def compile_modules(root: Path, folder: Path, modules: Sequence[str] = MODULES) -> list[Path]:
    """Compile ``modules`` of the project at ``root`` below ``folder``; the shared libraries, below its ``lib``.

    RuntimeError if mypyc or the compiler fails, or leaves out a module.
    """
    target = folder / "lib"
    arguments = (",".join(modules), GROUP, OPTIMISE, str(folder / "temporary"), str(target))
    done = subprocess.run(
        [sys.executable, "-c", _COMPILE, *arguments],
        cwd=root,
        env={**os.environ, "MYPY_CACHE_DIR": str(folder / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            f"{VARIABLE}=1, and these modules could not be compiled; nothing was built. Without {VARIABLE} the gateway "
            f"is pure Python. What mypyc and the compiler said last:\n{done.stdout[-4000:]}"
        )
    return shared_libraries(target, modules)


def shared_libraries(target: Path, modules: Sequence[str]) -> list[Path]:
    """All that the compiler left below ``target``. RuntimeError: there is none for one of ``modules``."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    missing = [module for module in modules if not (target / module).with_suffix(suffix).is_file()]
    if missing:
        raise RuntimeError(f"{VARIABLE}=1: these modules were not compiled: {', '.join(missing)}")
    return sorted(path for path in target.rglob("*") if path.is_file())
