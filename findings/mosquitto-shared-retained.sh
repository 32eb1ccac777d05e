#!/bin/sh
# Mosquitto sends retained messages to every member of a shared subscription.
#
# Software:     mosquitto 2.0.11-1.2+deb12u2 (Debian 12), paho-mqtt 2.2.0 with MQTT 5; Python 3.
# Expected:     none: by MQTT 5, 3.3.1.3, retained messages are sent for a new subscription that is not shared.
# Happens:      each member gets the whole of what is kept when it subscribes, so that a group of three handles it three
#               times, and once more for each restart. Live messages go to one member each, as they should.
# Who meets it: who lets several workers behind a gateway share `$share/GROUP/...` so that each message is worked on
#               once (billing, alarms, writing to a database).
# What to do:   in a member pass over messages with RETAIN set, or subscribe with Retain Handling 2 ("never").
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
packages="mosquitto=2.0.11-1.2+deb12u2 libdlt2 libwrap0 libcjson1 libnsl2 libtirpc3"
apt-get download $packages >apt.log 2>&1 || { cat apt.log; exit 77; }
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


source = Client("source")
source.publish("meter/total", "kept", retain=True)
members = [Client(f"member{number}", v5=True).subscribe("$share/group/meter/#") for number in range(3)]
kept = [[message.payload for message in member.heard(0.3)] for member in members]
source.publish("meter/live", "live")
live = sorted(len(member.heard(0.3)) for member in members)
never = Client("never", v5=True).subscribe("$share/group/meter/#", retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
seen = {
    "kept message at SUBSCRIBE, three members": kept,
    "live message, copies for three members": live,
    "kept message, Retain Handling 2": never.heard(),
}
stated = {
    "kept message at SUBSCRIBE, three members": [[b"kept"], [b"kept"], [b"kept"]],
    "live message, copies for three members": [0, 0, 1],
    "kept message, Retain Handling 2": [],
}
for name, answer in seen.items():
    print(f"{name}: {answer}")
sys.exit(0 if seen == stated else 1)
PY

LD_LIBRARY_PATH=$(dirname "$(find root -name 'libdlt.so.2' | head -1)")
export LD_LIBRARY_PATH
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf 'listener %s 127.0.0.1\nallow_anonymous true\nuser %s\n' "$port" "$(id -un)" >broker.conf
root/usr/sbin/mosquitto -c broker.conf >broker.log 2>&1 &
broker=$!
tries=0
until python3 -c "import socket; socket.create_connection(('127.0.0.1', $port))" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] && kill -0 "$broker" || { cat broker.log; exit 77; }
    sleep 0.2
done
venv/bin/python check.py "$port"
