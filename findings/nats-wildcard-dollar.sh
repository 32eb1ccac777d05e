#!/bin/sh
# In NATS 2.9 the MQTT subscriptions "#" and "+/x" get topics that begin with "$", the broker's own ones too.
#
# Software:     nats-server 2.9.10-1+b3 (Debian 12) with JetStream and MQTT, paho-mqtt 2.2.0 with MQTT 3.1.1; Python 3.
# Expected:     a filter that begins with a wildcard doesn't match a topic that begins with "$" (MQTT 3.1.1, 4.7.2).
# Happens:      "#" and "+/x" get "$own/x" of another client, and "#" gets what the broker tells itself about sessions
#               and consumers, under $MQTT and $JS: several messages for each client that connects and subscribes.
# Who meets it: loggers, bridges and gateways that subscribe to "#": their tables and rate limits fill with topics that
#               no device made, JSON or not, and a bridge carries them to the other side.
# What to do:   subscribe to one's own trees rather than "#"; drop topics that begin with "$" unless the filter does.
#               2.10.27 of Debian 13 keeps to the rule.
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


everything = Client("everything").subscribe("#")
one_level = Client("one").subscribe("+/x")
source = Client("source")
source.publish("$own/x", "1")
source.publish("house/x", "2")
Client("third", clean=False).subscribe("house/x").disconnect()
seen = {
    "first levels that # got": sorted({message.topic.partition("/")[0] for message in everything.heard(2)}),
    "topics that +/x got": [message.topic for message in one_level.heard()],
}
stated = {
    "first levels that # got": ["$JS", "$MQTT", "$own", "house"],
    "topics that +/x got": ["$own/x", "house/x"],
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
