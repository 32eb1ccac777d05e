#!/bin/sh
# mosquitto_pub exits with 0 though the broker refused the message, also by MQTT 5, which tells the reason.
#
# Software:     mosquitto and mosquitto-clients 2.0.11-1.2+deb12u2 (Debian 12), the broker with an acl_file; Python 3.
# Expected:     with `-V 5 -q 1` a code other than 0, as with a wrong password (5): the acknowledgement says 0x87 Not
#               Authorized. By MQTT 3.1.1 nothing can be told, so 0.
# Happens:      0 in both. By MQTT 5 a line on standard error, "Warning: Publish 1 failed: Not authorized."; with
#               --quiet not even that.
# Who meets it: who sends commands to a gateway from scripts, or tests the ACL of a broker with them: a command that
#               was refused counts as sent.
# What to do:   use -V 5 and -q 1 and look at standard error; or wait for the answer (mosquitto_rr) or for the new
#               state.
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
packages="mosquitto=2.0.11-1.2+deb12u2 mosquitto-clients=2.0.11-1.2+deb12u2 libmosquitto1=2.0.11-1.2+deb12u2"
apt-get download $packages libdlt2 libwrap0 libcjson1 libnsl2 libtirpc3 >apt.log 2>&1 || { cat apt.log; exit 77; }
for package in *.deb; do dpkg -x "$package" root; done

cat >check.py <<'PY'
import subprocess
import sys

PORT = sys.argv[1]


def publish(topic, *words, password="secret"):
    """The exit code and what was printed."""
    command = ["root/usr/bin/mosquitto_pub", "-h", "127.0.0.1", "-p", PORT, "-u", "user", "-P", password]
    done = subprocess.run(
        [*command, "-t", topic, "-m", "on", "-q", "1", *words], capture_output=True, timeout=30, text=True
    )
    return done.returncode, (done.stdout + done.stderr).strip()


seen = {
    "allowed": publish("lamp/set", "-V", "5"),
    "denied, MQTT 5": publish("door/set", "-V", "5"),
    "denied, MQTT 5, --quiet": publish("door/set", "-V", "5", "--quiet"),
    "denied, MQTT 3.1.1": publish("door/set", "-V", "311"),
    "wrong password, MQTT 3.1.1": publish("lamp/set", "-V", "311", "--quiet", password="other")[0],
}
stated = {
    "allowed": (0, ""),
    "denied, MQTT 5": (0, "Warning: Publish 1 failed: Not authorized."),
    "denied, MQTT 5, --quiet": (0, ""),
    "denied, MQTT 3.1.1": (0, ""),
    "wrong password, MQTT 3.1.1": 5,
}
for name, answer in seen.items():
    print(f"{name}: {answer}")
sys.exit(0 if seen == stated else 1)
PY

LD_LIBRARY_PATH=$(dirname "$(find root -name 'libdlt.so.2' | head -1)")
export LD_LIBRARY_PATH
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf 'user:secret\n' >users
root/usr/bin/mosquitto_passwd -U users
printf 'user user\ntopic write lamp/#\n' >acl
chmod 644 users acl
printf 'listener %s 127.0.0.1\npassword_file %s/users\nacl_file %s/acl\nuser %s\n' \
    "$port" "$tmp" "$tmp" "$(id -un)" >broker.conf
root/usr/sbin/mosquitto -c broker.conf >broker.log 2>&1 &
broker=$!
tries=0
until python3 -c "import socket; socket.create_connection(('127.0.0.1', $port))" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] && kill -0 "$broker" || { cat broker.log; exit 77; }
    sleep 0.2
done
python3 check.py "$port"
