#!/bin/sh
# After a restart NATS counts an MQTT session's packet ids from 1 again, and sends kept messages under other ids.
#
# Software:     nats-server 2.9.10-1+b3 (Debian 12) with JetStream and MQTT, paho-mqtt 2.2.0 with MQTT 3.1.1; Python 3.
# Expected:     after SIGTERM and a start the session is there as before (Session Present is 1), so what was not
#               acknowledged comes again with DUP and "the original packet identifier" (MQTT 3.1.1, 4.4), as it does
#               after a reconnect without a restart.
# Happens:      new messages get the ids 1 to 3, which the unacknowledged ones had; these come again, with DUP, under 4
#               to 6.
# Who meets it: a gateway that keeps the packet ids of its session to recognise what it has carried out: when the broker
#               was updated, a command that comes again looks like another one, and is carried out twice.
# What to do:   recognise repeats by something in the message (a counter, a time), not by packet id and DUP.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, not Debian 12, no Python).

set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
chmod 755 "$tmp"
apt-get download nats-server=2.9.10-1+b3 >apt.log 2>&1 || { cat apt.log; exit 77; }
for package in *.deb; do dpkg -x "$package" root; done
python3 -m venv venv && venv/bin/pip install --quiet paho-mqtt==2.2.0 >pip.log 2>&1 || { cat pip.log || true; exit 77; }

cat >check.py <<'PY'
import socket
import subprocess
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


class Broker:
    def __init__(self):
        with open("broker.log", "ab") as log:
            self.process = subprocess.Popen(["root/usr/sbin/nats-server", "-c", "broker.conf"], stdout=log, stderr=log)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", PORT)).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.2)
        self.stop()
        sys.exit(77)

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


broker = Broker()


def session(name, restart):
    """What a device gets in two connections of one session: payload, packet id, DUP."""
    global broker
    device = Client(name, clean=False, manual_ack=True).subscribe(f"{name}/#")

    def publish(word):
        source = Client("source")
        for number in range(3):
            source.publish(f"{name}/set", f"{word} {number}")
        source.disconnect()

    def heard(seconds):
        return [(message.payload.decode(), message.mid, message.dup) for message in device.heard(seconds)]

    publish("old")
    first = heard(1)
    device.lose()
    if restart:
        broker.stop()
        broker = Broker()
    publish("new")
    device = Client(name, clean=False, manual_ack=True)
    found = device.present, first, heard(2), heard(8)[:3]
    device.disconnect()
    return found


try:
    seen = {"no restart": session("one", False), "restart": session("two", True)}
finally:
    broker.stop()
first = [("old 0", 1, False), ("old 1", 2, False), ("old 2", 3, False)]
stated = {
    "no restart": (
        True,
        first,
        [("new 0", 4, False), ("new 1", 5, False), ("new 2", 6, False)],
        [("old 0", 1, True), ("old 1", 2, True), ("old 2", 3, True)],
    ),
    "restart": (
        True,
        first,
        [("new 0", 1, False), ("new 1", 2, False), ("new 2", 3, False)],
        [("old 0", 4, True), ("old 1", 5, True), ("old 2", 6, True)],
    ),
}
for name, (present, first, new, again) in seen.items():
    print(f"{name}: first connection {first}; second one, session present {present}: {new}, then {again}")
sys.exit(0 if seen == stated else 1)
PY

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >broker.conf <<CONF
server_name: one
listen: "127.0.0.1:-1"
jetstream { store_dir: "$tmp/store" }
mqtt { listen: "127.0.0.1:$port", ack_wait: "6s" }
CONF
venv/bin/python check.py "$port"
