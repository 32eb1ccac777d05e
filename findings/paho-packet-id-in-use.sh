#!/bin/sh
# paho-mqtt refuses a message with "Message queue full" if one older message waits under the packet id that is next.
#
# Software:     paho-mqtt 2.2.0 with MQTT 3.1.1, at a small broker of this script; Python 3.
# Expected:     publish() takes a packet id that is free ([MQTT-2.3.1-2] asks for one), a message of QoS 0 has none
#               ([MQTT-2.3.1-5]); the queue has no bound by default, so each message of QoS 1 is kept until the broker
#               is there.
# Happens:      each publish() counts the id on, also one of QoS 0 and also while the client is away. After 65,535 calls
#               it comes to the ids of messages that still wait, and refuses each message that would get one of these:
#               rc is MQTT_ERR_QUEUE_SIZE, the message is neither kept nor sent. Three that wait cost three later ones.
# Who meets it: a device or gateway that publishes measurements with QoS 0 and events with QoS 1: at ten a second two
#               hours without the broker are enough. The rc of a message that is kept isn't 0 either (MQTT_ERR_NO_CONN),
#               so programs tend to ignore it, and the event is lost without a word.
# What to do:   look for rc == MQTT_ERR_QUEUE_SIZE and publish again; publish nothing with QoS 0 while the client is away.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, no Python).

set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
python3 -m venv venv && venv/bin/pip install --quiet paho-mqtt==2.2.0 >pip.log 2>&1 || { cat pip.log || true; exit 77; }

cat >check.py <<'PY'
import socket
import sys
import threading
import time

import paho.mqtt.client as mqtt

CONNECT, PUBLISH, DISCONNECT = 1, 3, 14


def broker(listener, heard):
    """Accepts one client after the other, acknowledges what it sends and notes (packet id, payload) of QoS 1."""
    while True:
        connection, _ = listener.accept()
        stream = connection.makefile("rb")
        while first := stream.read(1):
            body = stream.read(stream.read(1)[0])  # all packets here are shorter than 128 octets
            kind, qos = first[0] >> 4, first[0] >> 1 & 3
            if kind == CONNECT:
                connection.sendall(bytes.fromhex("20020000"))
            elif kind == PUBLISH and qos:
                topic = int.from_bytes(body[:2], "big")
                number, payload = body[2 + topic : 4 + topic], body[4 + topic :]
                heard.append((int.from_bytes(number, "big"), payload.decode()))
                connection.sendall(b"\x40\x02" + number)
            elif kind == DISCONNECT:
                break
        connection.close()


def until(holds):
    for _ in range(500):
        if holds():
            return
        time.sleep(0.02)
    sys.exit("it never came")


listener, heard = socket.create_server(("127.0.0.1", 0)), []
threading.Thread(target=broker, args=(listener, heard), daemon=True).start()
device = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "device", clean_session=False)


def publish(names):
    return [(info.mid, info.rc.name) for info in (device.publish("events", name, 1) for name in names)]


device.connect("127.0.0.1", listener.getsockname()[1])
device.loop_start()
until(device.is_connected)
device.disconnect()
device.loop_stop()
kept = publish(["first", "second", "third"])
while device.publish("measured", "21.5", 0).mid != 65535:
    pass
later = publish(["fourth", "fifth", "sixth", "seventh"])
device.reconnect()
device.loop_start()
until(lambda: "seventh" in [payload for _, payload in heard])
seen = {"kept": kept, "after 65,535 calls": later, "what the broker got": heard}
stated = {
    "kept": [(number, "MQTT_ERR_NO_CONN") for number in (1, 2, 3)],
    "after 65,535 calls": [*((number, "MQTT_ERR_QUEUE_SIZE") for number in (1, 2, 3)), (4, "MQTT_ERR_NO_CONN")],
    "what the broker got": [(1, "first"), (2, "second"), (3, "third"), (4, "seventh")],
}
for name, found in seen.items():
    print(f"{name}: {found}")
sys.exit(0 if seen == stated else 1)
PY
venv/bin/python check.py
