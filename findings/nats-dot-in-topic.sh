#!/bin/sh
# One QoS 1 message to a topic with a dot puts an MQTT client of NATS 2.9 out of work: it reconnects for ever.
#
# Software:     nats-server 2.9.10-1+b3 (Debian 12) with JetStream and MQTT, paho-mqtt 2.2.0 with MQTT 3.1.1; Python 3.
# Expected:     a dot in a topic, which NATS's own subjects use as the separator, is a matter of that message alone: it
#               is delivered, changed, or dropped, as SUBSCRIBE to such a topic gets the failure code (0x80).
# Happens:      PUBLISH to "hall.lamp/on" ends the connection without an acknowledgement. The client connects, sends the
#               message again (as QoS 1 asks), and is put out again, each time; messages to other topics that it sent
#               after it aren't taken either.
# Who meets it: gateways and devices whose topics hold what a person or a maker chose ("hall.lamp", "v1.0", an IP
#               address): one name stops everything that the client sends at QoS 1. (nats-io/nats-server#1879 is about
#               the dot; 2.10.27 of Debian 13 takes dots.)
# What to do:   refuse or replace dots and blanks in topics before PUBLISH where the broker may be NATS; drop a message
#               after which the connection ended several times.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, not Debian 12, no Python).

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
apt-get download nats-server=2.9.10-1+b3 >apt.log 2>&1 || { cat apt.log; exit 77; }
for package in *.deb; do dpkg -x "$package" root; done
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


listener = Client("listener").subscribe("house/#")
subscriber = Client("subscriber")
codes = []
subscriber.paho.on_subscribe = lambda client, userdata, number, reasons, *rest: codes.extend(r.value for r in reasons)
subscriber.paho.subscribe("house/hall.lamp", 1)
subscriber.publish("house/other", "before")

device = Client("device", clean=False)
connected = []
device.paho.on_connect = lambda *about: connected.append(time.monotonic())
device.paho.reconnect_delay_set(1, 1)
dotted = device.paho.publish("house/hall.lamp", "dotted", 1)
other = device.paho.publish("house/other", "after", 1)
heard = [message.payload.decode() for message in listener.heard(8)]
seen = {
    "SUBSCRIBE to a topic with a dot": codes,
    "reconnects in 8 s, more than 3": len(connected) > 3,
    "the message with a dot is acknowledged": dotted.is_published(),
    "the message after it is acknowledged": other.is_published(),
    "heard": heard,
}
device.disconnect()
stated = {
    "SUBSCRIBE to a topic with a dot": [0x80],
    "reconnects in 8 s, more than 3": True,
    "the message with a dot is acknowledged": False,
    "the message after it is acknowledged": False,
    "heard": ["before"],
}
for name, answer in seen.items():
    print(f"{name}: {answer}")
sys.exit(0 if seen == stated else 1)
PY

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >broker.conf <<CONF
server_name: one
listen: "127.0.0.1:-1"
jetstream { store_dir: "$tmp/store" }
mqtt { listen: "127.0.0.1:$port" }
CONF
root/usr/sbin/nats-server -c broker.conf >broker.log 2>&1 &
broker=$!
tries=0
until python3 -c "import socket; socket.create_connection(('127.0.0.1', $port))" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] && kill -0 "$broker" || { cat broker.log; exit 77; }
    sleep 0.2
done
venv/bin/python check.py "$port"
