#!/bin/sh
# Home Assistant: an MQTT entity has no value again only by the text None; null, an empty payload and "unknown" keep it.
#
# Software:     Home Assistant 2025.11.3 (core, without a frontend) with its MQTT integration, mosquitto
#               2.0.11-1.2+deb12u2 (Debian 12); Python 3.13 as `python3.13`. Installing it takes two minutes or more.
# Expected:     a payload of `null`, which JSON has for this, makes an entity "unknown", at least if it can be nothing
#               else (a number, a switch); or it is treated alike by all.
# Happens:      a sensor with a unit, a number, a binary sensor and a switch keep their last value on `null`, an empty
#               payload and `unknown`, with a line in Home Assistant's log at most; they are "unknown" after `None`,
#               with a capital N. With a template it is the other way round: JSON with null is rendered as None, which
#               is "unknown", and `None` or a missing member keeps the value. A sensor without a unit shows the texts.
# Who meets it: who writes a gateway's publishing of values: if a device reports that it has no value (NaN, 0x8000), or
#               one is withdrawn, Home Assistant goes on showing the last measurement as if it were of now.
# What to do:   publish `None` to a topic that is a value by itself, and null as a member where a template takes it out;
#               use availability or expire_after if the value is to be marked as old.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, not Debian 12, no Python 3.13).

set -eu
tmp=$(mktemp -d)
broker=
cleanup() {
    [ -z "$broker" ] || { kill "$broker" && wait "$broker"; } 2>/dev/null || true
    rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
cd "$tmp"
chmod 755 "$tmp"
packages="mosquitto=2.0.11-1.2+deb12u2 libdlt2 libwrap0 libcjson1 libnsl2 libtirpc3"
apt-get download $packages >apt.log 2>&1 || { cat apt.log; exit 77; }
for package in *.deb; do dpkg -x "$package" root; done
python3.13 -m venv --without-pip hass && python3 -m venv pip && pip/bin/pip --python hass/bin/python install --quiet \
    homeassistant==2025.11.3 paho-mqtt==2.1.0 'pycares<5' >pip.log 2>&1 || { cat pip.log || true; exit 77; }

cat >check.py <<'PY'
import asyncio
import json
import pathlib
import sys
import types

from homeassistant import auth, bootstrap, config_entries, core, loader
from homeassistant.setup import async_setup_component
import paho.mqtt.client as mqtt

PORT = int(sys.argv[1])
COMPONENTS = {
    "text": {"p": "sensor"},
    "power": {"p": "sensor", "unit_of_measurement": "W"},
    "templated": {"p": "sensor", "unit_of_measurement": "W", "value_template": "{{ value_json.power }}"},
    "contact": {"p": "binary_sensor"},
    "level": {"p": "number", "command_topic": "set/level"},
    "relay": {"p": "switch", "command_topic": "set/relay"},
    "marker": {"p": "sensor"},
}
GOOD = {"text": "fine", "power": "21", "templated": '{"power": 4}', "contact": "ON", "level": "5", "relay": "ON"}
NONE = ["null", "", "unknown", "None", '{"power": null}', "{}"]


async def started():
    """Home Assistant with the MQTT integration and nothing else."""
    pathlib.Path("config").mkdir()
    pathlib.Path("config/configuration.yaml").touch()
    hass = core.HomeAssistant("config")
    hass.config.skip_pip = True
    loader.async_setup(hass)
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    await bootstrap.async_load_base_functionality(hass)
    hass.auth = await auth.auth_manager_from_config(hass, [], [])
    await async_setup_component(hass, "homeassistant", {})
    hass.set_state(core.CoreState.running)
    entry = config_entries.ConfigEntry(
        version=1,
        minor_version=2,
        domain="mqtt",
        title="broker",
        data={"broker": "127.0.0.1", "port": PORT, "discovery": True},
        options={},
        source="user",
        unique_id=None,
        discovery_keys=types.MappingProxyType({}),
        subentries_data=None,
    )
    await hass.config_entries.async_add(entry)
    return hass


async def main():
    hass = await started()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", PORT)
    client.loop_start()
    client.publish(
        "homeassistant/device/meter/config",
        json.dumps(
            {
                "device": {"identifiers": ["meter"], "name": "meter"},
                "origin": {"name": "check"},
                "components": {
                    name: {"unique_id": name, "name": name, "state_topic": f"state/{name}"} | more
                    for name, more in COMPONENTS.items()
                },
            }
        ),
        1,
        True,
    )

    def states():
        return {state.entity_id.partition(".meter_")[2]: state.state for state in hass.states.async_all()}

    async def told(payloads):
        """The states after these payloads: the marker comes last, and messages are handled in order."""
        told.marker += 1
        for name, payload in (payloads | {"marker": str(told.marker)}).items():
            client.publish(f"state/{name}", payload, 1)
        while states()["marker"] != str(told.marker):
            await asyncio.sleep(0.05)
        return states()

    told.marker = 0
    while len(states()) < len(COMPONENTS):
        await asyncio.sleep(0.05)
    await asyncio.sleep(2)  # the subscriptions of the entities are made a little after them
    seen = {}
    for payload in NONE:
        before = await told(GOOD)
        after = await told(dict.fromkeys(GOOD, payload))
        seen[payload] = {name: "kept" if after[name] == before[name] else after[name] for name in GOOD}
    client.loop_stop()
    await hass.async_stop(force=True)
    return seen


kept = dict.fromkeys(GOOD, "kept")
stated = {
    "null": kept | {"text": "null"},
    "": kept | {"text": ""},
    "unknown": kept | {"text": "unknown"},
    "None": dict.fromkeys(GOOD, "unknown") | {"templated": "kept"},
    '{"power": null}': kept | {"text": '{"power": null}', "templated": "unknown"},
    "{}": kept | {"text": "{}"},
}
seen = asyncio.run(asyncio.wait_for(main(), 90))
for payload, answer in seen.items():
    print(f"{payload!r}: {answer}")
sys.exit(0 if seen == stated else 1)
PY

libraries=$(dirname "$(find root -name 'libdlt.so.2' | head -1)")
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf 'listener %s 127.0.0.1\nallow_anonymous true\nuser %s\n' "$port" "$(id -un)" >broker.conf
LD_LIBRARY_PATH=$libraries root/usr/sbin/mosquitto -c broker.conf >broker.log 2>&1 &
broker=$!
tries=0
until python3 -c "import socket; socket.create_connection(('127.0.0.1', $port))" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] && kill -0 "$broker" || { cat broker.log; exit 77; }
    sleep 0.2
done
hass/bin/python check.py "$port" 2>hass.log || { code=$?; tail -5 hass.log; exit "$code"; }
