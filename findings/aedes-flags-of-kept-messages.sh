#!/bin/sh
# Aedes sends unacknowledged messages again without DUP, and what it kept for an absent client with RETAIN.
#
# Software:     aedes 1.2.0 with its memory store, paho-mqtt 2.2.0 with MQTT 3.1.1; Node 20 or later, Python 3.
# Expected:     DUP on each second sending ([MQTT-3.3.1-1]); RETAIN 0 on a message that comes from a subscription that
#               existed when it was published, also if the client was away meanwhile ([MQTT-3.3.1-9]).
# Happens:      the repeated messages have DUP 0. A message that was published with RETAIN while the client was away
#               arrives with RETAIN 1; to a client that is there it goes with RETAIN 0.
# Who meets it: devices that tell a fresh command from a kept one by RETAIN, or a repetition by DUP, with Node-RED or
#               another program that has Aedes inside: a fresh command is dropped as stale, or one is carried out twice.
# What to do:   let commands carry their own number or time; don't read meaning from these two flags.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, no Node, no Python).

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
npm install --silent --no-audit --no-fund --prefix "$tmp" aedes@1.2.0 >npm.log 2>&1 \
    || { cat npm.log; exit 77; }
python3 -m venv venv && venv/bin/pip install --quiet paho-mqtt==2.2.0 >pip.log 2>&1 || { cat pip.log || true; exit 77; }

cat >check.py <<'PY'
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

PORT = int(sys.argv[1])


def properties(packet, **values):
    made = Properties(packet)
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Client:
    """A paho client that connects at once, waits for each acknowledgement and keeps what it gets in `messages`."""

    def __init__(self, name, *, v5=False, clean=True, expiry=0, will=None, delay=0, user=None, manual_ack=False):
        self.messages, self.present, self.v5 = [], None, v5
        self._answered, self._answers = threading.Condition(), set()
        version = {"protocol": mqtt.MQTTv5} if v5 else {"protocol": mqtt.MQTTv311, "clean_session": clean}
        self.paho = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, name, manual_ack=manual_ack, **version)
        self.paho.on_message = lambda client, userdata, message: self.messages.append(message)
        self.paho.on_connect = self._connected
        self.paho.on_subscribe = self.paho.on_publish = lambda client, userdata, number, *rest: self._answer(number)
        self.paho.reconnect_delay_set(120, 120)  # never by itself
        if user:
            self.paho.username_pw_set(*user)
        if will:
            self.paho.will_set(
                will,
                b"gone",
                1,
                properties=properties(PacketTypes.WILLMESSAGE, WillDelayInterval=delay) if v5 else None,
            )
        session = properties(PacketTypes.CONNECT, SessionExpiryInterval=expiry)
        self.paho.connect("127.0.0.1", PORT, 60, **({"clean_start": clean, "properties": session} if v5 else {}))
        self.paho.loop_start()
        self._await("connected")

    def _connected(self, client, userdata, flags, reason, received):
        self.present = flags.session_present
        self._answer("connected")

    def _answer(self, number):
        with self._answered:
            self._answers.add(number)
            self._answered.notify_all()

    def _await(self, number):
        with self._answered:
            if not self._answered.wait_for(lambda: number in self._answers, 10):
                sys.exit(f"no acknowledgement: {number}")

    def subscribe(self, topic, qos=1, **options):
        how = {"options": SubscribeOptions(qos, **options)} if self.v5 else {"qos": qos}
        self._await(self.paho.subscribe(topic, **how)[1])
        return self

    def publish(self, topic, payload, qos=1, retain=False):
        number = self.paho.publish(topic, payload, qos, retain).mid
        if qos:
            self._await(number)
        return self

    def heard(self, seconds=0.7):
        """What came until now and in the next so many seconds."""
        time.sleep(seconds)
        found, self.messages = self.messages, []
        return found

    def disconnect(self):
        self.paho.disconnect()
        self.paho.loop_stop()

    def lose(self):
        """The connection ends without DISCONNECT."""
        self.paho.socket().shutdown(2)
        time.sleep(0.3)
        self.paho.loop_stop()


source = Client("source")
device = Client("device", clean=False, manual_ack=True).subscribe("set/#")
source.publish("set/lamp", "first").publish("set/lamp", "second")
held = device.heard()
assert [message.payload for message in held] == [b"first", b"second"]
device.paho.ack(held[0].mid, 1)
time.sleep(0.3)
device.lose()
device = Client("device", clean=False)
again = [(message.payload, message.dup) for message in device.heard()]
source.publish("set/kept", "live", retain=True)
live = [(message.payload, message.retain) for message in device.heard()]
device.disconnect()
time.sleep(0.3)
source.publish("set/kept", "queued", retain=True)
device = Client("device", clean=False)
queued = [(message.payload, message.retain) for message in device.heard()]
seen = {"sent again, DUP": again, "live, RETAIN": live, "queued, RETAIN": queued}
stated = {
    "sent again, DUP": [(b"second", False)],
    "live, RETAIN": [(b"live", False)],
    "queued, RETAIN": [(b"queued", True)],
}
for name, answer in seen.items():
    print(f"{name}: {answer}")
sys.exit(0 if seen == stated else 1)
PY

cat >broker.mjs <<'JS'
import net from 'node:net';
import { Aedes } from 'aedes';

const broker = await Aedes.createBroker();
net.createServer(broker.handle).listen(Number(process.argv[2]), '127.0.0.1');
JS
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
node broker.mjs "$port" >broker.log 2>&1 &
broker=$!
tries=0
until python3 -c "import socket; socket.create_connection(('127.0.0.1', $port))" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] && kill -0 "$broker" || { cat broker.log; exit 77; }
    sleep 0.2
done
venv/bin/python check.py "$port"
