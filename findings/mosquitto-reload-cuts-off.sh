#!/bin/sh
# Mosquitto cuts off who is connected when a reloaded password file no longer fits them, and publishes no will.
#
# Software:     mosquitto 2.0.11-1.2+deb12u2 (Debian 12) with a password_file, paho-mqtt 2.2.0 with MQTT 5; Python 3.
# Expected:     the password is checked at CONNECT: after SIGHUP (`systemctl reload mosquitto`) who is connected stays
#               so until the next CONNECT. If the broker does end a connection, the will is published.
# Happens:      the broker checks every client that is connected against the new file by the password that it connected
#               with. Who has another one now, or is no longer in the file, is cut off at once, by MQTT 5 too without a
#               DISCONNECT, and its will isn't published. The same password with another salt changes nothing.
# Who meets it: who changes a gateway's password in the order broker first, gateway second: the gateway is cut off by
#               the reload, and its retained state goes on saying "online", since that is what its will was for.
# What to do:   write the new password to the gateway's configuration first, then reload the broker. After a user was
#               removed, clear the retained state of its clients by hand; a lock-out needs no restart.
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
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import paho.mqtt.client as mqtt

PORT, BROKER = map(int, sys.argv[1:])


class Client:
    """A paho client that connects once; `events` has how its connection ended and the topics that it got."""

    def __init__(self, user, password):
        self.events, connected = [], threading.Event()
        self._paho = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, user, protocol=mqtt.MQTTv5)
        self._paho.username_pw_set(user, password)
        self._paho.will_set(f"{user}/gone", b"gone", 1)
        self._paho.reconnect_delay_set(120, 120)  # never by itself
        self._paho.on_connect = lambda *rest: connected.set()
        self._paho.on_disconnect = lambda client, userdata, flags, reason, rest: self.events.append(
            "DISCONNECT" if flags.is_disconnect_packet_from_server else "cut off"
        )
        self._paho.on_message = lambda client, userdata, message: self.events.append(message.topic)
        self._paho.connect("127.0.0.1", PORT)
        self._paho.loop_start()
        if not connected.wait(10):
            sys.exit("not connected")
        if user == "watcher":
            self._paho.subscribe("+/gone", 1)

    def lose(self):
        """The connection ends without DISCONNECT."""
        self._paho.socket().shutdown(2)
        time.sleep(1.5)


def password_file(**passwords):
    """Writes the file, with new salts, and lets the broker read it."""
    pathlib.Path("users").write_text("".join(f"{user}:{password}\n" for user, password in passwords.items()))
    subprocess.run(["root/usr/bin/mosquitto_passwd", "-U", "users"], check=True)
    os.chmod("users", 0o644)
    os.kill(BROKER, signal.SIGHUP)
    time.sleep(1.5)


def events():
    found = {name: client.events[:] for name, client in clients.items()}
    for client in clients.values():
        client.events.clear()
    return {name: happened for name, happened in found.items() if happened}


clients = {name: Client(name, "old") for name in ("watcher", "gateway", "meter", "other")}
seen = {}
clients["other"].lose()
seen["other loses its connection"] = events()
password_file(watcher="old", gateway="old", meter="old", other="old")
seen["the same passwords, new salts"] = events()
password_file(watcher="old", gateway="new", meter="old")
seen["another password for gateway"] = events()
password_file(watcher="old", gateway="new")
seen["meter removed"] = events()
stated = {
    "other loses its connection": {"watcher": ["other/gone"], "other": ["cut off"]},
    "the same passwords, new salts": {},
    "another password for gateway": {"gateway": ["cut off"]},
    "meter removed": {"meter": ["cut off"]},
}
for name, answer in seen.items():
    print(f"{name}: {answer}")
sys.exit(0 if seen == stated else 1)
PY

LD_LIBRARY_PATH=$(dirname "$(find root -name 'libdlt.so.2' | head -1)")
export LD_LIBRARY_PATH
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf '%s:old\n' watcher gateway meter other >users
root/usr/bin/mosquitto_passwd -U users
chmod 644 users
printf 'listener %s 127.0.0.1\npassword_file %s/users\nuser %s\n' "$port" "$tmp" "$(id -un)" >broker.conf
root/usr/sbin/mosquitto -c broker.conf >broker.log 2>&1 &
broker=$!
tries=0
until python3 -c "import socket; socket.create_connection(('127.0.0.1', $port))" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] && kill -0 "$broker" || { cat broker.log; exit 77; }
    sleep 0.2
done
venv/bin/python check.py "$port" "$broker"
