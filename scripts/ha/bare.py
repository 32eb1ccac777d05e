"""A Home Assistant with MQTT and its API, and nothing else: no user interface, no database.

    python bare.py FOLDER BROKER_PORT USER PASSWORD_FILE HTTP_PORT

Runs in the virtual environment of Home Assistant. Says its version and an access token as one line of JSON once it
runs; ends with SIGTERM. What it remembers lies in FOLDER, as it would in a real one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

from homeassistant import bootstrap, config_entries, core, loader
from homeassistant.auth import auth_manager_from_config
from homeassistant.auth.const import GROUP_ID_ADMIN
from homeassistant.auth.models import TOKEN_TYPE_LONG_LIVED_ACCESS_TOKEN
from homeassistant.const import __version__
from homeassistant.setup import async_setup_component


async def main(folder: str, broker: str, user: str, password: str, port: str) -> None:
    hass = core.HomeAssistant(folder)
    hass.config.skip_pip = True
    loader.async_setup(hass)
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    await bootstrap.async_load_base_functionality(hass)
    hass.auth = await auth_manager_from_config(hass, [{"type": "homeassistant"}], [])
    await async_setup_component(hass, "homeassistant", {})
    await async_setup_component(hass, "http", {"http": {"server_host": "127.0.0.1", "server_port": int(port)}})
    for name in ("auth", "websocket_api", "api", "config"):
        if not await async_setup_component(hass, name, {}):
            sys.exit(f"{name} does not start")
    if not hass.config_entries.async_entries("mqtt"):
        await hass.config_entries.async_add(config_entries.ConfigEntry(
            domain="mqtt", title="mqtt", options={}, version=1, minor_version=2, source="user", unique_id=None,
            data={"broker": "127.0.0.1", "port": int(broker), "username": user,
                  "password": password},
            discovery_keys=MappingProxyType({}), subentries_data=None,
        ))  # fmt: skip
    else:
        await async_setup_component(hass, "mqtt", {})
        for entry in hass.config_entries.async_entries("mqtt"):
            if entry.state is config_entries.ConfigEntryState.NOT_LOADED:
                await hass.config_entries.async_setup(entry.entry_id)
    owner = next((each for each in await hass.auth.async_get_users() if each.name == "owner"), None)
    owner = owner or await hass.auth.async_create_user("owner", group_ids=[GROUP_ID_ADMIN])
    refresh = await hass.auth.async_create_refresh_token(
        owner, client_name=f"scene {loop_time()}", token_type=TOKEN_TYPE_LONG_LIVED_ACCESS_TOKEN,
        access_token_expiration=timedelta(hours=2),
    )  # fmt: skip
    await hass.async_start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    token = hass.auth.async_create_access_token(refresh)
    sys.stdout.write(json.dumps({"event": "ready", "version": __version__, "token": token}) + "\n")
    sys.stdout.flush()
    await ended.wait()
    await hass.async_stop(force=True)


def loop_time() -> float:
    return asyncio.get_running_loop().time()


logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
logging.getLogger("homeassistant.components.mqtt").setLevel(logging.INFO)
FOLDER, BROKER, USER, PASSWORD, PORT = sys.argv[1:]
asyncio.run(main(FOLDER, BROKER, USER, Path(PASSWORD).read_text().strip(), PORT))
