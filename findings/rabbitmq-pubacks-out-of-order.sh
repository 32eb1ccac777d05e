#!/bin/sh
# RabbitMQ acknowledges QoS 1 messages of one connection out of order: those that nobody gets overtake the others.
#
# Software:     rabbitmq-server 3.10.8-1.1+deb12u1 with rabbitmq_mqtt and Erlang 25.2.3 (Debian 12); Python 3.
# Expected:     PUBACK packets come in the order of the PUBLISH packets that they answer, as MQTT 3.1.1 has it (4.6,
#               MQTT-4.6.0-2: "MUST"), and as Mosquitto does: so the oldest message in flight is the one acknowledged.
# Happens:      of 20 messages in one write, the odd ones for a subscriber with a kept session, the even ones to a topic
#               without subscribers, all the even ones are acknowledged first: an acknowledgement waits for the queue
#               that has to write the message to disk, and only the messages of one queue stay in order.
# Who meets it: clients that keep what is in flight as a first-in, first-out queue and take the first one off at each
#               PUBACK, or that end the connection at an id that isn't the oldest; whoever takes a PUBACK as a sign that
#               all before it have arrived.
# What to do:   find the message by the packet id of the PUBACK; count a message as delivered by its own PUBACK only.
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

PORT = int(sys.argv[1])


def packet(first, body):
    return bytes([first, len(body)]) + body


def text(value):
    return len(value).to_bytes(2, "big") + value


def connect(name, flags):
    sock = socket.create_connection(("127.0.0.1", PORT), 10)
    sock.sendall(packet(0x10, b"\x00\x04MQTT\x04" + bytes([flags]) + b"\x00\x3c" + text(name)))
    assert read(sock)[0] == 0x20
    return sock


def read(sock):
    """One packet that is shorter than 128 octets."""
    got = b""
    while len(got) < 2 or len(got) < 2 + got[1]:
        more = sock.recv(2 - len(got) if len(got) < 2 else 2 + got[1] - len(got))
        assert more
        got += more
    return got


# A subscriber that keeps its session (clean session 0), so that its messages are kept on the disk.
keeper = connect(b"keeper", 0)
keeper.sendall(packet(0x82, b"\x00\x01" + text(b"kept/#") + b"\x01"))
assert read(keeper)[0] == 0x90

# QoS 1, packet ids 1 to 20: odd ones to the subscriber, even ones to a topic that nobody subscribes to.
publisher = connect(b"publisher", 2)
sent = list(range(1, 21))
publisher.sendall(
    b"".join(packet(0x32, text(b"kept/a" if n % 2 else b"lost/a") + n.to_bytes(2, "big") + b"x" * 50) for n in sent)
)
came = []
while len(came) < len(sent):
    answer = read(publisher)
    assert answer[:2] == b"\x40\x02"
    came.append(int.from_bytes(answer[2:], "big"))
print("sent:        ", sent)
print("acknowledged:", came)
sys.exit(0 if sorted(came) == sent and came != sent else 1)
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
