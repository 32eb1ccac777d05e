"""A folder with a config, a policy and keys that pass check-config, and ways to spoil them."""

from __future__ import annotations

from pathlib import Path

CONFIG = """\
layer: 1
config-version: 1
gateway:
  name: home
  state_dir: state
  log_level: info
policy: policy.yaml
adapters:
  zigbee:
    path: socket://127.0.0.1:6638
    form: if-blank
    channel: 15
    protocols:
      200: {to: phone}
  coap:
    listen: "[::]:5684"
    psk_file: coap-keys
  mqtt:
    broker: localhost:8883
    ca_file: ca.pem
    user: gateway
    password_file: password
    broker_acl: true
    devices: {base: home}
limits:
  idle: 1h
"""


POLICY = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: zigbee, eui64: "00:0d:6f:00:0b:5d:e3:b6"}
  meter: {link: zigbee, eui64: "00:0d:6f:00:0b:5d:e3:b7"}
  phone: {link: coap, psk_identity: phone}
  broker: {link: mqtt, broker: localhost}
  cloud: {link: mqtt, user: cloud}
groups:
  devices: [lamp, meter]
rules:
  - id: phone-to-lamp
    effect: permit
    subject: phone
    resource: lamp
    condition: {hours: "06:00-23:00"}
  - id: meter-reads
    effect: permit
    subject: broker
    resource: meter
    action: [read, observe]
"""


KEYS = "phone:" + "5a" * 16 + "\n"
C, P = "gateway.yaml", "policy.yaml"


def made_folder(folder: Path, authority: bytes) -> Path:
    """``folder`` with all the files; ``authority``: a CA's certificate in PEM."""
    for name, text in ((C, CONFIG), (P, POLICY), ("coap-keys", KEYS), ("password", "example\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    (folder / "ca.pem").write_bytes(authority)
    return folder


def break_it(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / name
    if new.startswith("chmod "):
        path.chmod(int(new.removeprefix("chmod "), 8))
        return
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1))
