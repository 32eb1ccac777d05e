"""Figures 10 and 11: a forward proxy that is asked by CONNECT, then with a middlebox behind it (ATLS, section 9.8)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from demo.credentials import write_secret
from demo.pictures.mitmproxy import DumpedRequest, authority_of, flows_of, start_mitmproxy
from demo.pictures.picture import Picture, Saw, Step
from demo.pictures.records import records_of
from demo.pictures.squid import Squid
from demo.pictures.web import WELL_KNOWN, ended, flow_lines, last_logged, policy_file, start_client, start_service
from demo.pictures.wire import Wire
from demo.process import Process, ProcessFailedError
from demo.stack import Stack, free_port

TEXTS: Final = {
    "app": "the app's word by Squid",
    "phone": "the phone's word by Squid",
    "app-mitm": "the app's word by Squid and mitmproxy",
    "phone-mitm": "the phone's word by Squid and mitmproxy",
}
PASSWORDS: Final = {"app": "the app's at the proxy", "gateway": "the gateway's at the proxy"}
SHOWN: Final = {"app": "app-token", "gateway": "gateway-token"}
"""Tokens of layer 1 for the service."""

_DRAWING: Final = """
figure 10                                             layers at the client

+--------+  C->P TLS   +-------+   P->S TCP           +----------------------+
|  app   |------------>|       |                      | layer 0              |
+--------+  CONNECT    |       |                      +----------------------+
                       | Squid |------> service       | C->S HTTP            |
+---------+            |       |                      | C->S TLS  (11: C->M) |
| gateway |----------->|       |                      | C->P TLS             |
+---------+            +-------+                      | C->P TCP             |
     ^ CoAP/DTLS                                      +----------------------+
   phone

figure 11

+-----------------+             +-------+   P->M TCP   +-----------+   M->S TLS
| app and gateway |------------>| Squid |------------->| mitmproxy |------------> service
+-----------------+             +-------+              +-----------+
                 C->M TLS ends at mitmproxy; layer 0 ends at the service
"""
_POLICY: Final = """\
layer: 1
policy-version: 1
subjects:
  phone: {{link: coap, psk_identity: phone}}
  cloud: {{link: http, url: "{cloud}"}}
  behind: {{link: http, url: "{behind}"}}
  unknown: {{link: http, url: "{unknown}"}}
rules:
  - {{id: out, effect: permit, subject: phone, resource: [cloud, behind, unknown]}}
"""
_SERVICE: Final = """\
      - url: {url}
        ca_file: {ca_file}
        token_file: gateway.token
        proxy: {{url: "https://localhost:{port}", ca_file: link-ca.pem, login_file: gateway.login}}
"""


async def run(stack: Stack) -> tuple[Sequence[Step], Sequence[Saw]]:
    assert stack.authority is not None
    service, service_port = await start_service(stack)
    mitmproxy_port = free_port()
    mitmproxy = await start_mitmproxy(
        stack,
        "mitmproxy",
        port=mitmproxy_port,
        upstream=f"https://localhost:{service_port}",
        trusts=stack.authority.certificate,
    )
    _write_secrets(stack)
    async with AsyncExitStack() as parts:
        to_service = await parts.enter_async_context(Wire(service_port))
        to_mitmproxy = await parts.enter_async_context(Wire(mitmproxy_port))
        squid = Squid(stack, PASSWORDS, [to_service.port, to_mitmproxy.port])
        await parts.enter_async_context(squid.running())
        cloud, behind = (_url("localhost", wire.port) for wire in (to_service, to_mitmproxy))
        unknown = _url("127.0.0.1", to_mitmproxy.port)
        stack.write_policy(_POLICY.format(cloud=cloud, behind=behind, unknown=unknown))
        entries = ((cloud, "link-ca.pem"), (behind, authority_of(stack, "mitmproxy")), (unknown, "link-ca.pem"))
        services = "".join(_SERVICE.format(url=url, ca_file=ca, port=squid.tls_port) for url, ca in entries)
        stack.write_config(zigbee=False, mqtt=False, extra=f"  http:\n    services:\n{services}")

        stranger = await _app(stack, "stranger", cloud, squid, user=None)
        await ended(stranger, 69)
        app = await _app(stack, "app", cloud, squid)
        await _delivered(app, service, TEXTS["app"])
        gateway = await stack.start_gateway()
        phone = await _phone(stack, "phone", "cloud")
        await _delivered(phone, service, TEXTS["phone"])
        app = await _app(stack, "app-mitm", behind, squid, policy="first_hop_errors: ignore\n")
        hop = await app.expect_event("first-hop")
        await _delivered(app, service, TEXTS["app-mitm"])
        phone = await _phone(stack, "phone-mitm", "behind")
        await _delivered(phone, service, TEXTS["phone-mitm"])
        refused = await _phone(stack, "phone-unknown", "unknown")
        await refused.expect_event("ended", clean=False)
        why = _trouble(gateway, unknown)
        await service.expect_event("ended", count=len(TEXTS))
        await gateway.stop()
    if [event["event"] for event in service.events].count("session") != len(TEXTS):
        raise ProcessFailedError(f"the service has other sessions than expected\n{service.tail()}")
    await mitmproxy.stop()
    requests = flows_of(stack, "mitmproxy")
    of_gateway = [each for each in requests if dict(each.fields)["user-agent"] == "atls-gateway"]
    of_app = [each for each in requests if each not in of_gateway]
    _check_tokens(of_app, of_gateway, [to_service, to_mitmproxy])
    steps = [
        Step(
            "Squid takes CONNECT over TLS, from those who log in, to two places. The service is behind the first; at "
            "the second mitmproxy ends TLS and calls the same service, since on this machine a port stands for a route."
        ),
        Step(
            "An app without a login (`--proxy https://localhost:PORT`) ends with 69; the service has seen nothing. Its "
            f'log: "{_without_ports(last_logged(stranger), squid)}"'
        ),
        Step(
            "Figure 10. The app (`atls-endpoint app --proxy https://app@localhost:PORT --proxy-password-file FILE`) "
            "makes a tunnel by CONNECT, TLS with the service inside it, and layer 0 inside that: it sends "
            f'"{TEXTS["app"]}".'
        ),
        Step(
            "A phone without a way to the web opens a session to the same service through our gateway, by CoAP over "
            "DTLS. The gateway goes through Squid (`proxy` in `adapters.http.services`) with another login. The "
            f'phone sends "{TEXTS["phone"]}" inside layer 0.'
        ),
        Step(
            "Figure 11. The app calls the place behind which mitmproxy is. With `first_hop_errors: ignore` in its "
            f"layer-0 policy it notes that {hop['issuer']} issued the certificate in the tunnel, gives that hop no "
            f'token, and sends "{TEXTS["app-mitm"]}". Squid\'s own certificate had to verify nevertheless.'
        ),
        Step(
            "The gateway ignores no certificate. Where its config has mitmproxy's authority as `ca_file` of the "
            f'service, the phone sends "{TEXTS["phone-mitm"]}". Without that, the session ends, mitmproxy has '
            f'seen no request, and the log says: "{why}".'
        ),
    ]
    return steps, [
        Saw(
            "Squid",
            "From its access log, each line once, and from the cables behind it, each type of record once. It knows "
            "who asked for which place, and the first hellos of TLS. HTTP is application_data to it.",
            [
                *sorted({_without_ports(line, squid) for line in squid.log if line.startswith("CONNECT")}),
                *_tunnel("the service", to_service),
                *_tunnel("mitmproxy", to_mitmproxy),
            ],
            clear=_crossed(to_service) + _crossed(to_mitmproxy) + "\n".join(squid.log).encode(),
        ),
        Saw(
            "mitmproxy, of the app",
            "From its own dump of flows. There is no Authorization, and no trace of the proxy.",
            flow_lines(of_app),
            clear=b"".join(each.clear for each in of_app),
        ),
        Saw(
            "mitmproxy, of the gateway",
            "The gateway trusts it as its first hop, and gives it the token of layer 1.",
            flow_lines(of_gateway),
            clear=b"".join(each.clear for each in of_gateway),
        ),
    ]


def _check_tokens(of_app: Sequence[DumpedRequest], of_gateway: Sequence[DumpedRequest], wires: Sequence[Wire]) -> None:
    """ProcessFailedError: a token or a password went to another box than it should or to none, or a request to
    a hop that does not verify."""
    secrets = [secret.encode() for secret in (*SHOWN.values(), *PASSWORDS.values())]
    crossed = b"".join(map(_crossed, wires))
    fields = [dict(each.fields) for each in of_app]
    wrong = [
        any(secret in crossed for secret in secrets),
        any({"authorization", "proxy-authorization"} & each.keys() for each in fields),
        any(dict(each.fields)["host"].startswith("127.0.0.1") for each in of_gateway),
        any(dict(each.fields).get("authorization") != f"Bearer {SHOWN['gateway']}" for each in of_gateway),
        not of_app or not of_gateway,
    ]
    if any(wrong):
        raise ProcessFailedError(f"secrets of layer 1 went wrong: {wrong}")


def _trouble(gateway: Process, url: str) -> str:
    """Why the gateway had no answer from a service, by its log."""
    for line in gateway.log.read_text().splitlines():
        _, found, why = line.partition(f"{url} has no answer for us: ")
        if found:
            return why
    raise ProcessFailedError(f"the gateway does not complain of {url}\n{gateway.tail()}")


def _without_ports(line: str, squid: Squid) -> str:
    for port, name in (*zip(squid.services, ("SERVICE", "MITMPROXY"), strict=True), (squid.tls_port, "SQUID")):
        line = line.replace(f":{port}", f":{name}")
    return line


def _crossed(wire: Wire) -> bytes:
    return b"".join(crossing.of(up) for crossing in wire.crossings for up in (True, False))


def _tunnel(to: str, wire: Wire) -> list[str]:
    return [
        f"in tunnels to {to}, {way}: "
        + ", ".join(dict.fromkeys(record for each in wire.crossings for record in records_of(each.of(up))))
        for way, up in (("up", True), ("down", False))
    ]


def _write_secrets(stack: Stack) -> None:
    for user, password in PASSWORDS.items():
        write_secret(stack.directory / f"{user}.password", password.encode())
        write_secret(stack.directory / f"{user}.login", f"{user}:{password}".encode())
        write_secret(stack.directory / f"{user}.token", SHOWN[user].encode())


def _url(host: str, port: int) -> str:
    return f"https://{host}:{port}{WELL_KNOWN}"


async def _app(
    stack: Stack, name: str, url: str, squid: Squid, *, user: str | None = "app", policy: str = ""
) -> Process:
    """It sends its text if Squid lets it through; ``user``: as whom it logs in there."""
    folder = stack.directory
    login = ("--proxy-password-file", str(folder / f"{user}.password")) if user else ()
    at = f"{user}@" if user else ""
    return await start_client(
        stack,
        name,
        url,
        policy_file(stack, name, policy),
        *("--proxy", f"https://{at}localhost:{squid.tls_port}", "--proxy-ca-file", str(folder / "link-ca.pem")),
        *("--ca-file", str(folder / "link-ca.pem"), "--token-file", str(folder / "app.token")),
        *("--send", TEXTS.get(name, name), *login),
    )


async def _phone(stack: Stack, name: str, to: str) -> Process:
    return await stack.start_phone(
        name, policy_file(stack, name), "--open", to, "--leave", "--send", TEXTS.get(name, name)
    )


async def _delivered(client: Process, service: Process, text: str) -> None:
    await client.expect_event("sent", status="delivered")
    await service.expect_event("received", text=text)
    await ended(client, 0)


PICTURE: Final = Picture(
    name="proxies",
    title="A forward proxy, and a middlebox behind it",
    figure="draft-friel-tls-atls-00, figures 10 and 11, section 9.8",
    drawing=_DRAWING,
    words="A network lets its clients out through a forward proxy only. It is asked by CONNECT for a place, and passes "
    "on what follows, TLS as a rule; so it is no middlebox. The network may have one of these behind it. ATLS passes "
    "both: it needs no second CONNECT, and nothing that the proxy or the service would have to know.",
    run=run,
    needs=("squid", "openssl"),
    secrets=tuple(TEXTS.values()),
)
