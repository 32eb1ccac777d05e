"""What of paho is touched: one file, its public interface, and the one override that gives it our socket."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from paho.mqtt.client import Client

import carriage

ROOMS = ("adapters", "carriage", "common", "demo", "endpoint", "gateway", "layer", "simulator")
ROOT = Path(str(carriage.__file__)).parents[1]
"""The sources, or where they are installed."""
FILE = Path("carriage/mqtt/paho_side.py")
OVERRIDDEN = {"_create_socket"}
TOUCHED = {
    "connect_async",
    "disconnect",
    "loop_misc",
    "loop_read",
    "loop_write",
    "on_connect",
    "on_disconnect",
    "on_socket_register_write",
    "on_subscribe",
    "reconnect",
    "subscribe",
    "username_pw_set",
    "will_set",
}
OF_OURS = {"given_socket"}


def names_paho(tree: ast.Module) -> bool:
    modules = [each.module or "" for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)]
    modules += [alias.name for each in ast.walk(tree) if isinstance(each, ast.Import) for alias in each.names]
    return any(module.split(".")[0] == "paho" for module in modules)


def overridden(tree: ast.Module) -> set[str]:
    """What classes derived from paho's client define."""
    derived = [
        each
        for each in ast.walk(tree)
        if isinstance(each, ast.ClassDef) and any(getattr(base, "id", "") == "Client" for base in each.bases)
    ]
    return {part.name for each in derived for part in each.body if isinstance(part, ast.FunctionDef)}


def touched(tree: ast.Module) -> set[str]:
    """The attributes that are used of a client: of ``client`` and ``self._client``, and by name in ``getattr``."""
    found = set()
    for each in ast.walk(tree):
        if isinstance(each, ast.Attribute):
            owner = each.value
            named = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
            if named in ("client", "_client"):
                found.add(each.attr)
    return found


def test_one_file_imports_paho() -> None:
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    found = [file for file in files if "paho" in (text := file.read_text()) and names_paho(ast.parse(text))]
    assert [file.relative_to(ROOT) for file in found] == [FILE]


def test_what_is_touched_and_overridden_is_this() -> None:
    tree = ast.parse((ROOT / FILE).read_text())
    assert overridden(tree) == OVERRIDDEN
    assert touched(tree) == TOUCHED | OF_OURS
    assert not [name for name in TOUCHED if name.startswith("_")]
    assert all(hasattr(Client, name) for name in TOUCHED | OVERRIDDEN)
    assert not any(hasattr(Client, name) for name in OF_OURS)  # a later paho must not mean something by it
    text = (ROOT / FILE).read_text()
    assert "getattr" not in text and "setattr" not in text and "__dict__" not in text


def test_no_other_file_reaches_through_ours_to_the_client() -> None:
    for file in (ROOT / "carriage" / "mqtt").glob("*.py"):
        if file.name != FILE.name:
            tree = ast.parse(file.read_text())
            inner = [each for each in ast.walk(tree) if isinstance(each, ast.Attribute) and each.attr == "_client"]
            assert not [each for each in inner if getattr(each.value, "attr", "") in ("_paho", "paho")], file


@pytest.mark.parametrize(
    "planted",
    [
        "self._client._send_publish(1)",
        "client._in_packet.clear()",
        "self._client._out_packet",
        "class Other(Client):\n    def _packet_queue(self): ...",
        "class Other(Client):\n    def _packet_read(self): ...",
    ],
)
def test_a_further_private_use_is_found(planted: str) -> None:
    tree = ast.parse((ROOT / FILE).read_text() + "\n" + planted)
    assert (overridden(tree), touched(tree)) != (OVERRIDDEN, TOUCHED | OF_OURS)
