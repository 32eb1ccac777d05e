#!/bin/sh
# Mosquitto grants a subscription to a topic of which its ACL file lets the user read nothing.
#
# Software:     mosquitto 2.0.11-1.2+deb12u2 (Debian 12) with an acl_file, paho-mqtt 2.2.0; Python 3.
# Expected:     SUBACK with 0x87 Not Authorized (0x80 in MQTT 3.1.1), as a denied PUBLISH by MQTT 5 gets 0x87, or a
#               line in the log.
# Happens:      the QoS that was asked for is granted, in both versions, also for a topic of which the user may read
#               nothing: the ACL file is applied to each message when it is sent to the subscriber, not to SUBSCRIBE.
#               With `log_type all` the log names the subscription, with no hint that it is in vain.
# Who meets it: who sets up the users of a gateway and makes a slip in the ACL: the gateway connects, subscribes to its
#               command topic, is told that all is well, and gets no command. It can't notice or report that.
# What to do:   after a change of the ACL send a message through as another user; a program that must know can publish
#               to its own command topic if the ACL lets it. mosquitto_sub only ends by its time limit (-W).
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
import pathlib
import sys
import threading
import time

import paho.mqtt.client as mqtt

PORT = int(sys.argv[1])


class Client:
    """A paho client that waits for each acknowledgement; `messages` are the payloads that it got."""

    def __init__(self, user, version=mqtt.MQTTv5):
        self.messages, self._answered, self._answers = [], threading.Condition(), {}
        self._paho = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=version)
        self._paho.username_pw_set(user, f"{user} password")
        self._paho.on_message = lambda client, userdata, message: self.messages.append(message.payload)
        self._paho.on_connect = lambda client, userdata, flags, reason, rest: self._answer(0, reason)
        self._paho.on_publish = lambda client, userdata, number, reason, rest: self._answer(number, reason)
        self._paho.on_subscribe = lambda client, userdata, number, reasons, rest: self._answer(number, reasons[0])
        self._paho.connect("127.0.0.1", PORT)
        self._paho.loop_start()
        self._reason(0)

    def _answer(self, number, reason):
        with self._answered:
            self._answers[number] = str(reason)
            self._answered.notify_all()

    def _reason(self, number):
        with self._answered:
            if not self._answered.wait_for(lambda: number in self._answers, 10):
                sys.exit(f"no acknowledgement: {number}")
            return self._answers[number]

    def subscribe(self, topic):
        return self._reason(self._paho.subscribe(topic, 1)[1])

    def publish(self, topic, payload):
        return self._reason(self._paho.publish(topic, payload, 1).mid)


owner, gateway, old = Client("owner"), Client("gateway"), Client("gateway", mqtt.MQTTv311)
seen = {
    "SUBSCRIBE to what may be read": gateway.subscribe("gateway/state"),
    "SUBSCRIBE to what may not": gateway.subscribe("gateway/command"),
    "the same by MQTT 3.1.1": old.subscribe("gateway/command"),
    "PUBLISH to what may not be written": gateway.publish("gateway/command", "x"),
    "PUBLISH of a command by its owner": owner.publish("gateway/command", "on"),
    "PUBLISH of what may be read": owner.publish("gateway/state", "well"),
}
time.sleep(1)
log = pathlib.Path("broker.log").read_text().lower()
seen |= {
    "received": (gateway.messages, old.messages),
    "log says denied": "denied subscribe" in log or "denied subscription" in log,
    "log says denied, of the PUBLISH": "denied publish" in log,
}
stated = {
    "SUBSCRIBE to what may be read": "Granted QoS 1",
    "SUBSCRIBE to what may not": "Granted QoS 1",
    "the same by MQTT 3.1.1": "Granted QoS 1",
    "PUBLISH to what may not be written": "Not authorized",
    "PUBLISH of a command by its owner": "Success",
    "PUBLISH of what may be read": "Success",
    "received": ([b"well"], []),
    "log says denied": False,
    "log says denied, of the PUBLISH": True,
}
for name, answer in seen.items():
    print(f"{name}: {answer}")
sys.exit(0 if seen == stated else 1)
PY

LD_LIBRARY_PATH=$(dirname "$(find root -name 'libdlt.so.2' | head -1)")
export LD_LIBRARY_PATH
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf '%s:%s password\n' owner owner gateway gateway >users
root/usr/bin/mosquitto_passwd -U users
printf 'user owner\ntopic readwrite gateway/#\nuser gateway\ntopic read gateway/state\n' >acl
chmod 644 users acl
printf 'listener %s 127.0.0.1\npassword_file %s/users\nacl_file %s/acl\nlog_type all\nuser %s\n' \
    "$port" "$tmp" "$tmp" "$(id -un)" >broker.conf
root/usr/sbin/mosquitto -c broker.conf >broker.log 2>&1 &
broker=$!
tries=0
until python3 -c "import socket; socket.create_connection(('127.0.0.1', $port))" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] && kill -0 "$broker" || { cat broker.log; exit 77; }
    sleep 0.2
done
venv/bin/python check.py "$port"
