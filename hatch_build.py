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

# Each of these runs for each unit, report or command. A module belongs here if `make bench` shows that it gains, if it
# derives no class from one of a third-party package (an isolated build has none of these, so all that they export is
# Any), and if the tests pass on it: no test patches its constants, functions or methods, and none of its classes has an
# interpreted subclass, here or in another project's adapter (gateway/kit/mailbox_state.py).
# mypyc makes a list of each generator expression: one that must stop early, or may not go on, is a loop. And it
# believes mypy that an attribute that was None still is, after a call that sets it: then reading it is a TypeError.
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
    "gateway/kit/fixed_timeout.py",
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
    # From coaps to MQTT: what a unit passes through between the two sockets, and on its way back.
    "layer/association.py",
    "layer/connected.py",
    "layer/events.py",
    "layer/flight.py",
    "layer/half_open.py",
    "layer/handshakes.py",
    "layer/listener.py",
    "layer/listener_events.py",
    "layer/sift.py",
    "carriage/coap/block_stores.py",
    "carriage/coap/blockwise.py",
    "carriage/coap/client_side.py",
    "carriage/coap/config.py",
    "carriage/coap/device_resources.py",
    "carriage/coap/observation.py",
    "carriage/coap/observations.py",
    "carriage/coap/server.py",
    "carriage/coap/server_peer.py",
    "carriage/coap/udp.py",
    "carriage/mqtt/acknowledgements.py",
    "carriage/mqtt/blame.py",
    "carriage/mqtt/client.py",
    "carriage/mqtt/malformed_log.py",
    "carriage/mqtt/options.py",
    "carriage/mqtt/outgoing.py",
    "carriage/mqtt/packets.py",
    "carriage/mqtt/receiver.py",
    "carriage/mqtt/sender.py",
    "carriage/mqtt/stage.py",
    "carriage/mqtt/topics.py",
    "carriage/mqtt/wire.py",
    "adapters/coap/adapter.py",
    "adapters/coap/devices.py",
    "adapters/coap/observers.py",
    "adapters/mqtt/adapter.py",
    "adapters/mqtt/hearing.py",
    "adapters/mqtt/inbound.py",
    "adapters/mqtt/outbound.py",
    "adapters/mqtt/pending_acks.py",
    "adapters/mqtt/session_ends.py",
    "adapters/mqtt/sessions.py",
    "adapters/mqtt/users.py",
    "gateway/engine/allowance.py",
    "gateway/kit/mailbox.py",
    "gateway/kit/mailbox_table.py",
    "gateway/kit/repeated_requests.py",
    "gateway/kit/sent_units.py",
    "gateway/kit/session_ends.py",
    "gateway/runtime/adapter_context.py",
    "gateway/runtime/adapter_state.py",
    "gateway/runtime/hub.py",
    "gateway/runtime/trace.py",
    # Over HTTP: requests to services and of clients. What derives from a class of aiohttp, or waits in a ``finally``,
    # stays interpreted.
    "carriage/http/atls.py",
    "carriage/http/atls_client.py",
    "carriage/http/atls_format.py",
    "adapters/http/north_arrivals.py",
    "adapters/http/north_client.py",
    "adapters/http/north_exchange.py",
    "adapters/http/north_session.py",
    "adapters/http/services.py",
    "adapters/http/south_admission.py",
    "adapters/http/south_requests.py",
    "adapters/http/south_sessions.py",
    # ZigBee: what a report, a unit in a tunnel and a set pass through between the dongle and the hub. The lanes
    # themselves are subclasses of bellows', so they stay interpreted; their codecs are in the carriage.
    "carriage/zigbee/ash.py",
    "carriage/zigbee/attributes.py",
    "carriage/zigbee/datatypes.py",
    "carriage/zigbee/events.py",
    "carriage/zigbee/ezsp.py",
    "carriage/zigbee/flow_control.py",
    "carriage/zigbee/foundation.py",
    "carriage/zigbee/mailbox_client.py",
    "carriage/zigbee/mailbox_server.py",
    "carriage/zigbee/opening.py",
    "carriage/zigbee/retransmission.py",
    "carriage/zigbee/segmentation.py",
    "carriage/zigbee/sending.py",
    "carriage/zigbee/transfer.py",
    "carriage/zigbee/tunnel.py",
    "carriage/zigbee/tunnel_core.py",
    "carriage/zigbee/tunnel_frames.py",
    "carriage/zigbee/tunnel_table.py",
    "carriage/zigbee/tunneling.py",
    "carriage/zigbee/zcl.py",
    "carriage/zigbee/zdo.py",
    "adapters/zigbee/adapter.py",
    "adapters/zigbee/availability.py",
    "adapters/zigbee/cluster_mappings.py",
    "adapters/zigbee/command_execution.py",
    "adapters/zigbee/command_frames.py",
    "adapters/zigbee/default_responses.py",
    "adapters/zigbee/device.py",
    "adapters/zigbee/device_model.py",
    "adapters/zigbee/equal_waits.py",
    "adapters/zigbee/frame_kinds.py",
    "adapters/zigbee/model_builder.py",
    "adapters/zigbee/network_hooks.py",
    "adapters/zigbee/network_port.py",
    "adapters/zigbee/radio_port.py",
    "adapters/zigbee/reports.py",
    "adapters/zigbee/running.py",
    "adapters/zigbee/send_scheduler.py",
    "adapters/zigbee/transaction.py",
    "adapters/zigbee/tunnel_bridge.py",
    "adapters/zigbee/tunnel_mapping.py",
    "adapters/zigbee/tunnel_units.py",
    "adapters/zigbee/tunnels.py",
    "adapters/zigbee/zcl_devices.py",
    "adapters/zigbee/zcl_transactions.py",
    # Devices over MQTT: the state that a report changes, and a set.
    "adapters/mqtt/devices/commands.py",
    "adapters/mqtt/devices/devices.py",
    "adapters/mqtt/devices/published_devices.py",
    "adapters/mqtt/devices/redelivery_filter.py",
    "adapters/mqtt/devices/state_publisher.py",
    "adapters/mqtt/devices/topics.py",
    "adapters/mqtt/devices/values.py",
)

REQUIREMENTS = ("mypy>=2.4,<3", "setuptools>=77")

# Not setup(): that reads pyproject.toml, which is hatchling's.
_COMPILE = r"""
import re, sys
from pathlib import Path
from mypyc.build import mypycify
from setuptools import Distribution
from setuptools.command.build_ext import build_ext
modules, group, optimise, temporary, library = sys.argv[1].split(","), *sys.argv[2:]
# Third-party packages are Any, whether they are installed here or not; types are checked by scripts/check, and those
# of modules that aren't compiled not here: what they make of a package that is Any may be wrong to mypy.
paths = ["--config-file=", "--no-site-packages", "--ignore-missing-imports", "--follow-imports=silent", *modules]
# One C file for each module: half the time, and 0.3 GB of memory in place of 1.4; still one library.
kind = {"opt_level": optimise, "debug_level": "0", "multi_file": True}
made = mypycify(paths, **kind, group_name=group, target_dir=temporary)
for function in re.split("\n(?=def )", (Path(temporary) / "ops.txt").read_text()):
    for attribute in re.findall(r"(r\d+) = (?:borrow )?\w+\.(\w+)\n(?:.*\n){0,3}?.* = unbox\(None, \1\)", function):
        sys.exit(f"{function.partition('(')[0]}: mypy believes that {attribute[1]} is still None here, and when it is "
                 "read at run time and is not, this is a TypeError. Set it and read it in two functions.")
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
