"""The scenario that the demo shows and the end-to-end tests build on: one lamp, a phone and an application.

The policy lets the lamp and each of the two talk, both ways, and no other pair: ``stranger`` and ``other`` are known
subjects without a rule. Layer 0 comes in three variants: DTLS 1.2 with a PSK, DTLS 1.2 and TLS 1.3 with certificates.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from demo.credentials import Authority, make_psk_file
from demo.stack import LAMP, OTHER_LAMP, Stack


def policy(subjects: str = "", rules: str = "") -> str:
    """The layer-1 policy; ``subjects`` and ``rules`` are more lines of it, indented by two."""
    return f"""\
layer: 1
policy-version: 1
subjects:
  lamp7: {{link: zigbee, eui64: "{LAMP}"}}
  lamp8: {{link: zigbee, eui64: "{OTHER_LAMP}"}}
  phone: {{link: coap, psk_identity: phone}}
  tablet: {{link: coap, psk_identity: tablet}}
  app: {{link: mqtt, user: app}}
  other: {{link: mqtt, user: other}}
{subjects}groups:
  apps: [phone, app]
rules:
  - {{id: lamp-opens, effect: permit, subject: lamp7, resource: "group:apps"}}
  - {{id: apps-open, effect: permit, subject: "group:apps", resource: lamp7, action: open}}
{rules}"""


POLICY = policy()

Variant = Literal["dtls-psk", "dtls-x509", "tls-x509", "tls-psk"]
VARIANTS: tuple[Variant, ...] = ("dtls-psk", "dtls-x509", "tls-x509", "tls-psk")
PROTOCOL = {"dtls-psk": "dtls1.2", "dtls-x509": "dtls1.2", "tls-x509": "tls1.3", "tls-psk": "tls1.3"}
#: the tunnel protocol ids that ``Stack.write_config`` maps
TUNNEL = {("dtls", "phone"): "200", ("tls", "phone"): "201", ("dtls", "app"): "210", ("tls", "app"): "211"}


def tunnel(variant: Variant, target: str) -> str:
    """The protocol id by which a device opens a session of this variant to ``target``."""
    return TUNNEL[(variant.split("-", 1)[0], target)]


@dataclass(frozen=True, slots=True)
class Layer0:
    """One variant's policy files: the lamp's and its peer's."""

    lamp: Path
    phone: Path
    app: Path


def layer0(stack: Stack, variant: Variant) -> Layer0:
    """Write the layer-0 policies of one variant, with fresh credentials that no gateway file holds."""
    directory = stack.directory / f"layer0-{variant}"
    directory.mkdir(mode=0o700, exist_ok=True)
    if variant.endswith("psk"):
        make_psk_file(directory / "pair.psk", "lamp7")
        credentials = dict.fromkeys(("lamp7", "phone", "app"), "{psk_file: pair.psk}")
        peers = dict.fromkeys(("lamp7", "phone", "app"), "{psk_identity: lamp7}")
    else:
        authority = Authority.make(directory, "ca")
        credentials, peers = {}, {}
        for name in ("lamp7", "phone", "app"):
            authority.issue(name)
            credentials[name] = f"{{certificate_file: {name}.pem, key_file: {name}.key, trust_file: ca.pem}}"
        peers = {"lamp7": '{names: ["dns:phone", "dns:app"]}', "phone": '{names: ["dns:lamp7"]}'}
        peers["app"] = peers["phone"]

    def write(name: str) -> Path:
        path = directory / f"{name}.yaml"
        path.write_text(
            f"layer: 0\npolicy-version: 1\nprotocol: {PROTOCOL[variant]}\n"
            f"credentials: {credentials[name]}\npeer: {peers[name]}\n"
        )
        return path

    return Layer0(write("lamp7"), write("phone"), write("app"))
