"""What the adapter leaves out of zigpy."""

from __future__ import annotations

import subprocess
import sys

LOOK = """
import sys
import adapters.zigbee.plugin, adapters.zigbee.ezsp_radio
print([name for name in ("aiohttp", "jsonschema") if name in sys.modules])
import aiohttp
print(aiohttp.ClientSession.__module__)
"""


def test_the_libraries_of_firmware_updates_are_not_loaded_and_can_be_by_others():
    found = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == ["[]", "aiohttp.client"]
