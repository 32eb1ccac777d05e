"""docs/architecture.md against the import contracts, the ports and the adapters."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from gateway.api import model, ports
from gateway.engine.sessions import State
from gateway.runtime.store_rows import FORMS

ROOT = Path(__file__).parents[2]
MEMBERS = re.compile(r"[a-z_]+")


def test_rooms_and_contracts(architecture: Any, code_words: Callable[[str], list[str]]) -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert {row[0].strip("`") for row in architecture.rows("room")} == set(lint["root_packages"])
    contracts = {contract["id"]: contract for contract in lint["contracts"]}
    rows = {row[0].strip("`"): row for row in architecture.rows("contract")}
    assert set(rows) == set(contracts)
    for name, (_, who, never) in rows.items():
        contract = contracts[name]
        if name == "adapters-are-strangers":
            assert (code_words(who), never) == (contract["modules"], "each other")
            continue
        assert code_words(never) == contract["forbidden_modules"]
        if name == "sans-io":  # the page tells the rooms, the contract the modules
            assert code_words(who) == list(dict.fromkeys(m.partition(".")[0] for m in contract["source_modules"]))
        else:
            assert sorted(code_words(who)) == sorted(contract["source_modules"])


def public(protocol: type[Any]) -> set[str]:
    return {name for name in vars(protocol) if not name.startswith("_")}


def test_ports(architecture: Any, code_words: Callable[[str], list[str]]) -> None:
    rows = architecture.rows("an adapter calls")
    for column, protocol, elsewhere in ((0, ports.AdapterContext, set()), (1, ports.Adapter, {"window"})):
        documented = {MEMBERS.match(word)[0] for row in rows for word in code_words(row[column])}  # type: ignore[index]
        assert documented | elsewhere == public(protocol)


def test_windows(architecture: Any) -> None:
    from adapters.mqtt.adapter import MqttAdapter
    from adapters.zigbee.adapter import WINDOW

    rows = {row[0].strip("`"): row[1] for row in architecture.rows("adapter")}
    assert rows["mqtt"] == str(MqttAdapter.window)
    assert rows["zigbee"].split(",")[0] == str(WINDOW)


def test_words_of_the_model(architecture: Any) -> None:
    for envelope in get_args(model.Envelope):
        assert f"`{envelope.__name__}`" in architecture.text
    for word in (*(state.value for state in State), *(outcome.value for outcome in model.Outcome)):
        assert f"`{word}`" in architecture.text


def test_tables_of_the_store(architecture: Any) -> None:
    assert {row[0].strip("`") for row in architecture.rows("table")} == {*FORMS, "meta"}
