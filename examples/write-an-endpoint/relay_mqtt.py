"""A relay over MQTT 5 with paho (pip install paho-mqtt): it carries the units of a TLS program through a broker."""

from __future__ import annotations

import json
import queue
import secrets
import ssl
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from tls_program import TlsProgram, arguments


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--broker", required=True, help="HOST:PORT")
    parser.add_argument("--user", required=True, help="our login; the topics are below atls/USER")
    parser.add_argument("--password-file", required=True)
    parser.add_argument("--ca-file", help="whom to trust as broker; without it there is no TLS")
    options = parser.parse_args()
    host, _, port = options.broker.rpartition(":")
    base, nonce, run = f"atls/{options.user}/atls", secrets.token_hex(16), secrets.token_hex(16)
    arrived: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
    subscribed = threading.Event()

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"{options.user}-{run}", protocol=mqtt.MQTTv5)
    with open(options.password_file) as file:
        client.username_pw_set(options.user, file.read().strip())
    if options.ca_file:
        client.tls_set_context(ssl.create_default_context(cafile=options.ca_file))
    topics = [(f"{base}/{topic}", 1) for topic in ("status", "incoming", "+/down/+", "+/status")]
    client.will_set(f"{base}/gone", json.dumps({"run": run}), qos=1)
    client.on_connect = lambda *_: client.subscribe(topics)
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda _, __, message: message.retain or arrived.put(message)
    client.connect(host, int(port))
    client.loop_start()
    if not subscribed.wait(10):
        sys.exit("the broker does not answer")
    client.publish(f"{base}/gone", json.dumps({"run": run, "back": True}), qos=1)

    if options.open:
        client.publish(f"{base}/open", json.dumps({"to": options.open, "kind": options.kind, "nonce": nonce}), qos=1)
    print("waiting", file=sys.stderr, flush=True)
    session = None
    while session is None:
        message = arrived.get()
        body = json.loads(message.payload) if message.topic in (f"{base}/status", f"{base}/incoming") else {}
        if body.get("event") == "refused" and body["nonce"] == nonce:
            sys.exit(f"refused: {body['reason']}")
        if body.get("nonce") == nonce or (not options.open and body.get("kind") == options.kind):
            session = body["session"]
    program = TlsProgram(options)

    def read() -> None:
        came = 0
        while True:
            message = arrived.get()
            what = message.topic.removeprefix(f"{base}/{session}/")
            if what.startswith("down/") and int(what[5:]) >= came:  # QoS 1: a unit may come twice
                came = int(what[5:]) + 1
                program.hear(message.payload)
            elif what == "status":
                event = json.loads(message.payload)
                if event["event"] in ("closed", "broken") or "n" not in event:
                    program.hear(b"")
                else:
                    print(f"unit {event['n']}: {event['reason']}", file=sys.stderr)  # lost, as a datagram may be

    threading.Thread(target=read, daemon=True).start()
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType, properties.MessageExpiryInterval = f"application/{options.kind}", 60
    for n, unit in enumerate(program.units()):
        client.publish(f"{base}/{session}/up/{n}", unit, qos=1, properties=properties)
    client.publish(f"{base}/{session}/close", qos=1).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
    return program.wait()


if __name__ == "__main__":
    sys.exit(main())
