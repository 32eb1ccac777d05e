"""docs/add-a-cluster.md, done as it says: its row, exactly as it stands there, makes a device's pressure known."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from adapters.zigbee import clusters
from adapters.zigbee.clusters import ROWS, AttributeMapping
from gateway.api.model import Reading
from simulator.network import foundation
from simulator.network.datatypes import INT16
from tests.harness.zcl_device import ZclDevice, settled

PAGE = (Path(__file__).parents[3] / "docs" / "add-a-cluster.md").read_text()
BAROMETER = 0x000D6F0000000031


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """That of ``clusters`` with the page's row, and a comma, put at the end of ``ROWS``."""
    found = re.search(r"^```python cluster-pressure\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    rows, end, rest = Path(clusters.__file__).read_text().partition(")\n\n\nWRITES: Final")
    path = tmp_path / "clusters_with_pressure.py"
    path.write_text(rows + found[1] + "," + end + rest)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    return module.TABLE


async def test_the_row_of_the_page(world: Any, table: Any) -> None:
    assert len(table.rows) == len(ROWS) + 1
    server = foundation.make_cluster(0x0403, [foundation.Attribute(0, INT16, 1013, reportable=True)])
    async with world.gateway(table=table) as gateway:
        device = ZclDevice(BAROMETER, server)
        await device.attach(world.socket)
        world.devices.append(device)
        join = await gateway.join(device)
        assert [(each.name, each.unit) for each in join.properties] == [("pressure", "Pa")]
        await settled(gateway, device)
        assert [reading.values for reading in gateway.context.of(Reading)] == [(("pressure", 101_300),)]
        assert (server.reporting[0].minimum, server.reporting[0].maximum, server.reporting[0].change) == (30, 3600, 1)
        device.report(0x0403, "0000 29 e703")
        device.report(0x0403, "0000 29 0080")
        device.report(0x0403, "0000 29 ffff")  # out of the row's range
        wanted = [(("pressure", 99_900),), (("pressure", None),), (("pressure", None),)]
        await gateway.until(lambda: [reading.values for reading in gateway.context.of(Reading)][-3:] == wanted)


async def test_without_the_row_nothing_is_known_of_it(world: Any) -> None:
    async with world.gateway() as gateway:
        device = ZclDevice(BAROMETER, foundation.make_cluster(0x0403, [foundation.Attribute(0, INT16, 1013)]))
        await device.attach(world.socket)
        world.devices.append(device)
        assert (await gateway.join(device)).properties == ()


def test_the_page_tells_of_every_field() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert rows == [field.name for field in sorted(fields(AttributeMapping), key=lambda field: rows.index(field.name))]
