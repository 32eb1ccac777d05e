"""docs/add-a-cluster.md, done as it says: its rows, exactly as they stand there, and its test, run with them."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from adapters.zigbee.cluster_mappings import AttributeMapping
from adapters.zigbee.clusters import ROWS, ClusterTable
from adapters.zigbee.families import measurement
from gateway.api.model import Reading
from simulator.network import foundation
from simulator.network.datatypes import INT16
from tests.harness.cluster_rows import mistakes
from tests.harness.zcl_device import ZclDevice, settled

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "add-a-cluster.md").read_text()
BLOCKS = dict(re.findall(r"^```\w+ cluster-([\w-]+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
ADDED = ("temperature", "target", "status", "level")
NAMES = ["device_temperature", "target_illuminance", "illuminance_status", "ballast_minimum_level"]
BALLAST = 0x000D6F0000000031


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def _load(name: str, text: str) -> ModuleType:
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return _load


IMPORTS = "from math import log10\nfrom carriage.zigbee.datatypes import ENUM8, UINT8\n"


def with_rows(load: Any, name: str, *added: str) -> ModuleType:
    """The family ``measurement`` with these rows, and a comma each, put at the end of its ``ROWS``."""
    rows, end, rest = Path(measurement.__file__).read_text().partition("\n)\nWRITES: Final")
    first, future, others = rows.partition("from __future__ import annotations\n")
    more = "".join(row.rstrip() + ",\n" for row in added)
    module: ModuleType = load(name, first + future + IMPORTS + others + "\n" + more + end + rest)
    return module


@pytest.fixture
def table(load: Any) -> Any:
    """That of ``clusters`` with the page's rows at its end."""
    added = with_rows(load, "measurement_of_the_page", *(BLOCKS[name] for name in ADDED)).ROWS
    return ClusterTable(rows=(*ROWS, *added[len(measurement.ROWS) :]))


class WorldOfThePage:
    """The fixture ``world`` as it is once the rows are in ``clusters``."""

    def __init__(self, world: Any, table: Any) -> None:
        self._world, self._table = world, table

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def gateway(self) -> Any:
        return self._world.gateway(table=self._table)


def test_every_block_is_tried() -> None:
    assert BLOCKS.keys() == {*ADDED, "test", "run"}


def test_its_rows_lack_nothing(table: Any) -> None:
    assert [row.property.name for row in table.rows[len(ROWS) :]] == NAMES
    assert [mistakes(row) for row in table.rows[len(ROWS) :]] == [[], [], [], []]


@pytest.mark.parametrize("name", re.findall(r"^async def (test_\w+)", BLOCKS["test"], re.MULTILINE))
async def test_its_test_passes(world: Any, table: Any, load: Any, name: str) -> None:
    await getattr(load("test_of_the_page", BLOCKS["test"]), name)(WorldOfThePage(world, table))


def test_its_commands_name_files_that_are_there() -> None:
    named = set(re.findall(r"[\w/]+\.py|scripts/\w+", BLOCKS["run"]))
    assert {name for name in named if not (ROOT / name).exists()} == {
        "tests/adapters/zigbee/test_zigbee_lamp_fitting.py"
    }


async def test_what_is_out_of_range_is_no_value(world: Any, table: Any) -> None:
    server = foundation.make_cluster(0x0002, [foundation.Attribute(0, INT16, 41, reportable=True)])
    async with world.gateway(table=table) as gateway:
        device = ZclDevice(BALLAST, server)
        await device.attach(world.socket)
        world.devices.append(device)
        join = await gateway.join(device)
        assert [(each.name, each.unit) for each in join.properties] == [("device_temperature", "Cel")]
        await settled(gateway, device)
        device.report(0x0002, "0000 29 ff7f")
        wanted = [(("device_temperature", 41),), (("device_temperature", None),)]
        await gateway.until(lambda: [reading.values for reading in gateway.context.of(Reading)] == wanted)


async def test_without_the_row_nothing_is_known_of_it(world: Any) -> None:
    async with world.gateway() as gateway:
        device = ZclDevice(BALLAST, foundation.make_cluster(0x0002, [foundation.Attribute(0, INT16, 41)]))
        await device.attach(world.socket)
        world.devices.append(device)
        assert (await gateway.join(device)).properties == ()


def test_the_page_tells_of_every_field() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(field.name for field in fields(AttributeMapping) if field.init)


@pytest.mark.parametrize("spoilt", ["revert=lambda lux: round(10_000 * log10(lux) + 1) if lux >= 1 else 0,", "range="])
def test_a_converted_property_has_no_scale_and_is_set_with_a_way_back_only(load: Any, spoilt: str) -> None:
    row = BLOCKS["target"]
    assert spoilt in row
    row = row.replace(spoilt, "scale=100, range=" if spoilt == "range=" else "")
    with pytest.raises(ValueError, match="target_illuminance: a row with convert has no scale"):
        with_rows(load, "measurement_spoilt", row)
