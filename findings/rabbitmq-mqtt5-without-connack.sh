#!/bin/sh
# RabbitMQ 3.10 answers an MQTT 5 CONNECT by closing the connection, without the CONNACK that names the reason.
#
# Software:     rabbitmq-server 3.10.8-1.1+deb12u1 with rabbitmq_mqtt and Erlang 25.2.3 (Debian 12), paho-mqtt 2.2.0;
#               Python 3.
# Expected:     RabbitMQ speaks MQTT 3.1.1 (MQTT 5 came with 3.13), which has an answer for other versions: CONNACK with
#               0x01, "unacceptable protocol level", then the end of the connection (MQTT 3.1.1, 3.1.2.2).
# Happens:      the connection is closed and nothing is sent, so the client can't tell a wrong version from a lost link;
#               paho repeats the same CONNECT for ever, and never calls on_connect. The broker's log speaks of a frame
#               that it can't parse, not of a version. The same client with MQTT 3.1.1 is let in.
# Who meets it: gateways and clients that prefer MQTT 5 and go back to 3.1.1 if the answer is 0x01 (or 0x84): at this
#               broker they never do. A user sees "disconnected, reconnecting".
# What to do:   if a first CONNECT with MQTT 5 is closed without any answer, try 3.1.1 before the next wait, and say in
#               the log which version was tried.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, not Debian 12, no Python).

set -eu
tmp=$(mktemp -d)
broker=
epmd=
cleanup() {
    [ -z "$broker" ] || { kill "$broker" && wait "$broker"; } 2>/dev/null || true
    [ -z "$epmd" ] || epmd -port "$epmd" -kill >/dev/null 2>&1 || true
    rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
cd "$tmp"
chmod 755 "$tmp"
packages=rabbitmq-server=3.10.8-1.1+deb12u1
parts="asn1 base crypto eldap inets mnesia os-mon parsetools public-key runtime-tools ssl syntax-tools tools xmerl"
for part in $parts; do
    packages="$packages erlang-$part=1:25.2.3+dfsg-1+deb12u4"
done
apt-get download $packages >apt.log 2>&1 || { cat apt.log; exit 77; }
for package in *.deb; do dpkg -x "$package" root; done
python3 -m venv venv && venv/bin/pip install --quiet paho-mqtt==2.2.0 >pip.log 2>&1 || { cat pip.log || true; exit 77; }

cat >check.py <<'PY'
import socket
import sys
import time

import paho.mqtt.client as mqtt

PORT = int(sys.argv[1])


def connect(level, properties=b""):
    """The broker's answer, until it closes or has said something: CONNECT as client "abc", keep alive 60 s."""
    body = b"\x00\x04MQTT" + bytes([level]) + b"\x02\x00\x3c" + properties + b"\x00\x03abc"
    with socket.create_connection(("127.0.0.1", PORT), 10) as sock:
        sock.send(bytes([0x10, len(body)]) + body)
        return sock.recv(64).hex()


def paho(version):
    """Whether paho was let in within 6 s, and how often it was put out."""
    let_in, ends = [], []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "client", protocol=version)
    client.on_connect = lambda *about: let_in.append(about)
    client.on_disconnect = lambda *about: ends.append(about)
    client.reconnect_delay_set(1, 1)
    client.connect("127.0.0.1", PORT)
    client.loop_start()
    time.sleep(6)
    found = len(let_in), len(ends)
    client.disconnect()
    client.loop_stop()
    return found


seen = {
    "MQTT 3.1.1": connect(4),
    "MQTT 5": connect(5, b"\x00"),
    "MQTT 5, Session Expiry Interval": connect(5, b"\x05\x11\x00\x00\x00\x3c"),
    "paho, MQTT 3.1.1: let in, put out": paho(mqtt.MQTTv311),
}
let_in, ends = paho(mqtt.MQTTv5)
seen["paho, MQTT 5: let in, put out more than twice"] = let_in, ends > 2
stated = {
    "MQTT 3.1.1": "20020000",
    "MQTT 5": "",
    "MQTT 5, Session Expiry Interval": "",
    "paho, MQTT 3.1.1: let in, put out": (1, 0),
    "paho, MQTT 5: let in, put out more than twice": (0, True),
}
for name, answer in seen.items():
    print(f"{name}: {answer}")
sys.exit(0 if seen == stated else 1)
PY

set -- $(python3 -c 'import socket
free = [socket.socket() for _ in range(3)]
for sock in free:
    sock.bind(("127.0.0.1", 0))
print(*(sock.getsockname()[1] for sock in free))')
port=$1
epmd=$2
cat >broker.conf <<CONF
listeners.tcp = none
mqtt.listeners.tcp.1 = 127.0.0.1:$port
log.console = true
log.file = false
CONF
printf '[rabbitmq_mqtt].' >plugins
export HOME="$tmp" ERL_ROOTDIR="$tmp/root/usr/lib/erlang" PATH="$tmp/root/usr/bin:$PATH"
export ERL_EPMD_PORT="$epmd" ERL_EPMD_ADDRESS=127.0.0.1
export RABBITMQ_DIST_PORT="$3" RABBITMQ_NODENAME="one-$port@localhost" RABBITMQ_MNESIA_BASE="$tmp/mnesia"
export RABBITMQ_LOG_BASE="$tmp/log" RABBITMQ_CONFIG_FILE="$tmp/broker.conf" RABBITMQ_ENABLED_PLUGINS_FILE="$tmp/plugins"
root/usr/lib/rabbitmq/bin/rabbitmq-server >broker.log 2>&1 &
broker=$!
tries=0
until python3 -c "import socket; socket.create_connection(('127.0.0.1', $port))" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] && kill -0 "$broker" || { cat broker.log; exit 77; }
    sleep 0.3
done
venv/bin/python check.py "$port"
