"""Whatever stands in config, policy and the file of names: they are good, or each mistake is one line."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as runs
from hypothesis import strategies as st

from gateway.runtime import doubts, settings, strict_yaml
from gateway.runtime.config_source import InvalidConfigError
from tests.harness.config_folder import CONFIG, KEYS, POLICY
from tests.harness.layer_pair import Authority

NAMES = """\
layer: 1
devices-version: 1
devices:
  attic: {eui64: "00:0d:6f:00:0b:5d:e3:c1", groups: [lights]}
"""
FILES = {
    name: strict_yaml.parse(text, name).data
    for name, text in {
        "gateway.yaml": CONFIG,
        "policy.yaml": POLICY.replace("groups:", "groups:\n  lights: {assignable: true}"),
        "state/devices.yaml": NAMES,
    }.items()
}
WORDS = [
    *("", "*", "gateway", "group:devices", "group:", "lamp", "zigbee", "mqtt", "all", "open", "admin", "permit", "a/b"),
    *(
        "1h",
        "-3s",
        "24:00-23:61",
        "8KiB/min",
        "0x10",
        "/dev/null",
        "..",
        "socket://x:99999",
        "tcp://[::1",
        "[::]:70000",
    ),
    *(
        "$CREDENTIALS_DIRECTORY/x",
        "eui64:1",
        "00:0d:6f:00:0b:5d:e3:b6",
        "\0",
        "\x1b[2J",
        "\ud83d",
        "%s {}",
        "(a",
        "^.*$",
    ),
]
LONG = "x" * 300
"""No file can have it as its name."""
LEAF = (
    st.sampled_from(WORDS)
    | st.none()
    | st.booleans()
    | st.sampled_from([0, -1, 2**64, 10**30, 1.5, float("inf"), float("nan")])
    | st.text(st.characters(codec="utf-8"), max_size=6)
)
VALUE = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([w for w in WORDS if w]), inner, max_size=3)
    ),
    max_leaves=5,
)


def ways(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """To each place of a tree, its root apart."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*way, key)
        yield from ways(value[key], (*way, key))


PLACES = [(name, way) for name, tree in FILES.items() for way in ways(tree)]
CHANGE = st.tuples(st.sampled_from(PLACES), st.sampled_from(["put", "add", "drop"]), VALUE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trees")
    (folder / "state").mkdir(mode=0o700)
    for name, octets in (
        ("coap-keys", KEYS.encode()),
        ("password", b"example\n"),
        ("ca.pem", Authority("ca").pem),
    ):
        (folder / name).write_bytes(octets)
        (folder / name).chmod(0o600)
    return folder


def written(folder: Path, changes: list[Any]) -> None:
    trees = copy.deepcopy(FILES)
    for (name, way), how, value in changes:
        inner: Any = trees[name]
        try:
            for key in way[:-1]:
                inner = inner[key]
            if how == "drop":
                del inner[way[-1]]
            elif how == "add" and isinstance(inner, dict):
                inner[str(value)] = value
            else:
                inner[way[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # a change before took the place away
    for name, tree in trees.items():
        (folder / name).write_text(json.dumps(tree))
        (folder / name).chmod(0o600)


@runs(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([])
@example([(("gateway.yaml", ("policy",)), "put", "\ud83d\ude00")])
@example([(("gateway.yaml", ("policy",)), "put", LONG)])
@example([(("gateway.yaml", ("gateway", "state_dir")), "put", LONG)])
@example([(("gateway.yaml", ("adapters", "zigbee", "path")), "put", LONG)])
@example([(("gateway.yaml", ("adapters", "coap", "psk_file")), "put", LONG)])
@example([(("gateway.yaml", ("adapters", "mqtt", "ca_file")), "put", LONG)])
@given(st.lists(CHANGE, min_size=1, max_size=3))
def test_any_tree_is_good_or_has_mistakes(folder: Path, changes: list[Any]) -> None:
    written(folder, changes)
    try:
        found = settings.load(folder / "gateway.yaml", {})
        reported = [str(doubt) for doubt in doubts.every(found)]
    except InvalidConfigError as error:
        reported = [str(mistake) for mistake in error.errors]
        assert reported and changes
    for line in reported:
        assert "\n" not in line and "Traceback" not in line and "Error(" not in line
        line.encode()  # so that any terminal can show it
