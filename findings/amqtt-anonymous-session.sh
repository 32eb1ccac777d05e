#!/bin/sh
# With `allow_anonymous: true` amqtt keeps no session, also not for a client that gives a user name and password.
#
# Software:     amqtt 0.12.1 (AnonymousAuthPlugin and FileAuthPlugin), paho-mqtt 2.2.0 with MQTT 3.1.1; Python 3.
# Expected:     clean_session 0 keeps subscriptions and QoS 1 messages under the client id; user names have no part in
#               it (MQTT 3.1.1, 3.1.2.4).
# Happens:      after an absence of three seconds the session is gone: "session present" is 0, what was published
#               meanwhile is lost, and the subscription too. With `allow_anonymous: false` the same client finds all
#               three.
# Who meets it: who tests a gateway's persistent sessions against amqtt, or runs it open on a closed network.
# What to do:   set `allow_anonymous: false` and give every client a user name, also in tests; in the client subscribe
#               again whenever "session present" is 0.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, no Python).

set -eu
tmp=$(mktemp -d)
brokers=
cleanup() {
    for broker in $brokers; do { kill "$broker" && wait "$broker"; } 2>/dev/null || true; done
    rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
cd "$tmp"
chmod 755 "$tmp"
python3 -m venv venv && venv/bin/pip install --quiet amqtt==0.12.1 paho-mqtt==2.2.0 >pip.log 2>&1 \
    || { cat pip.log || true; exit 77; }

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


def away(port, user=None):
    globals()["PORT"] = int(port)
    name = "sleeper" if user else "nameless"
    source = Client("source", user=("alice", "secret"))
    client = Client(name, clean=False, user=user).subscribe("queue/#")
    client.disconnect()
    time.sleep(3)
    source.publish("queue/one", "kept")
    client = Client(name, clean=False, user=user)
    queued = [message.payload for message in client.heard(1)]
    source.publish("queue/one", "live")
    live = [message.payload for message in client.heard(1)]
    client.disconnect()
    return client.present, queued, live


seen = {
    "allow_anonymous true, no name": away(sys.argv[1]),
    "allow_anonymous true, name and password": away(sys.argv[1], ("alice", "secret")),
    "allow_anonymous false, name and password": away(sys.argv[2], ("alice", "secret")),
}
stated = {
    "allow_anonymous true, no name": (False, [], []),
    "allow_anonymous true, name and password": (False, [], []),
    "allow_anonymous false, name and password": (True, [b"kept"], [b"live"]),
}
for name, answer in seen.items():
    print(f"{name}: {answer}")
sys.exit(0 if seen == stated else 1)
PY

printf 'alice:%s\n' "$(venv/bin/python -c '
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
print(PasswordHash((Argon2Hasher(),)).hash("secret"))')" >users
ports=
for anonymous in true false; do
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    ports="$ports $port"
    cat >"$anonymous.yaml" <<CONF
listeners:
  default:
    type: tcp
    bind: 127.0.0.1:$port
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin:
    allow_anonymous: $anonymous
  amqtt.plugins.authentication.FileAuthPlugin:
    password_file: users
CONF
    venv/bin/amqtt -c "$anonymous.yaml" >broker.log 2>&1 &
    broker=$!
    brokers="$brokers $broker"
    tries=0
    until python3 -c "import socket; socket.create_connection(('127.0.0.1', $port))" 2>/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] && kill -0 "$broker" || { cat broker.log; exit 77; }
        sleep 0.2
    done
done
venv/bin/python check.py $ports
