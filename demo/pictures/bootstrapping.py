"""Figure 1: a new device behind a middlebox that ends TLS, which it can't verify yet (ATLS, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from demo.credentials import write_secret
from demo.pictures.mitmproxy import DumpedRequest, authority_of, flows_of, start_mitmproxy
from demo.pictures.picture import Picture, Saw, Step
from demo.pictures.web import WELL_KNOWN, ended, flow_lines, last_logged, policy_file, start_client, start_service
from demo.process import ProcessFailedError
from demo.stack import Stack, free_port

FIRST_TEXT: Final = "the key of the house"
SECOND_TEXT: Final = "here I am, as one of this network"
SHOWN: Final = "layer-1-token"

_DRAWING: Final = """
+--------+   C->M TLS    +-----------+   M->S TLS    +---------+
| device |-------------->| mitmproxy |-------------->| service |
+--------+               +-----------+               +---------+
    ^                                                     ^
    +----------- TLS 1.3 of layer 0, end to end ----------+
"""


async def run(stack: Stack) -> tuple[Sequence[Step], Sequence[Saw]]:
    assert stack.authority is not None
    port, service_port = free_port(), free_port()
    box = await start_mitmproxy(
        stack, "mitmproxy", port=port, upstream=f"https://localhost:{service_port}", trusts=stack.authority.certificate
    )
    authority = authority_of(stack, "mitmproxy")
    service, _ = await start_service(stack, "--authorities", str(authority), port=service_port)
    url = f"https://localhost:{port}{WELL_KNOWN}"
    write_secret(stack.directory / "token", SHOWN.encode())
    token = ("--token-file", str(stack.directory / "token"))
    learnt = stack.directory / "learnt.pem"

    strict = policy_file(stack, "device")
    refused = await start_client(stack, "strict", url, strict, *token)
    await ended(refused, 69)
    await box.expect(lambda line: "TLS handshake failed" in str(line.get("text")), what="a failed handshake")
    ignoring = policy_file(stack, "new", "first_hop_errors: ignore\n")
    new = await start_client(
        stack, "new", url, ignoring, *token, "--learn-authorities", str(learnt), "--send", FIRST_TEXT
    )
    hop = await new.expect_event("first-hop")
    found = await new.expect_event("learnt")
    await new.expect_event("sent", status="delivered")
    await service.expect_event("received", text=FIRST_TEXT)
    await ended(new, 0)
    verified = await start_client(
        stack, "verified", url, strict, *token, "--ca-file", str(learnt), "--send", SECOND_TEXT
    )
    await verified.expect_event("sent", status="delivered")
    await service.expect_event("received", text=SECOND_TEXT)
    await ended(verified, 0)
    if learnt.read_bytes().strip() != authority.read_bytes().strip():
        raise ProcessFailedError("what was learnt is not mitmproxy's authority")
    if any(event["event"] == "first-hop" for event in verified.events):
        raise ProcessFailedError("the first hop was not verified with what was learnt")
    await box.stop()
    flows = flows_of(stack, "mitmproxy")
    before, after = _parted(flows)
    steps = [
        Step(
            "mitmproxy stands between the device and the service, ends TLS, and shows a certificate that its own "
            "authority issued. The service knows which authority the device's network has (`serve --authorities`)."
        ),
        Step(
            "The device connects with a policy that refuses a first hop that does not verify. `atls-endpoint` ends "
            "with 69; mitmproxy's log has a TLS handshake that failed, its dump has no request. The device's log: "
            f'"{last_logged(refused)}"'
        ),
        Step(
            "The device connects with `first_hop_errors: ignore` and `--learn-authorities`. It notes the certificate "
            "that it saw and what speaks against it (below), gives this hop no token, and makes a handshake of layer "
            "0 with the service, through mitmproxy. Each proves to the other that it has the key that they share."
        ),
        Step(
            f"Inside layer 0 the device asks for the authorities of its network and learns {len(found['authorities'])}"
            f": {found['authorities'][0]['subject']}. It is the one that issued mitmproxy's certificate. Then it sends "
            f'"{FIRST_TEXT}".'
        ),
        Step(
            "The device connects again, now with verification under what it has learnt (`--ca-file`). mitmproxy's "
            f'certificate verifies, so this hop gets the device\'s token of layer 1. Layer 0 carries "{SECOND_TEXT}".'
        ),
    ]
    return steps, [
        Saw(
            "The device",
            "The certificate of the first hop, and the device's own judgement of it, as it reported them at the "
            "second attempt.",
            [
                f"host      {hop['host']}",
                f"subject   {hop['subject']}",
                f"issuer    {hop['issuer']}",
                f"key       sha256 {hop['spki_sha256']}",
                f"judgement not trusted: {hop['why']}",
            ],
            clear=repr(hop).encode(),
        ),
        Saw(
            "mitmproxy, before the device had learnt",
            "From its own dump of flows. It reads HTTP: methods, paths, types. The bodies are records of layer 0, of "
            "which it can read the hellos. There is no Authorization.",
            flow_lines(before),
            clear=b"".join(flow.clear for flow in before),
        ),
        Saw(
            "mitmproxy, afterwards",
            "It is a box of the network that the device now knows, and gets the token of layer 1, which is meant for "
            "the first hop. Layer 0 is what it was.",
            flow_lines(after),
            clear=b"".join(flow.clear for flow in after),
        ),
    ]


def _parted(flows: Sequence[DumpedRequest]) -> tuple[list[DumpedRequest], list[DumpedRequest]]:
    """Before and after the device trusts the middlebox. ProcessFailedError: the token went elsewhere."""
    with_token = [b"authorization: Bearer " + SHOWN.encode() in flow.clear for flow in flows]
    first = with_token.index(True) if True in with_token else len(flows)
    before, after = list(flows[:first]), list(flows[first:])
    if not before or not after or not all(with_token[first:]):
        raise ProcessFailedError("expected requests without the token, then requests with it")
    return before, after


PICTURE: Final = Picture(
    name="bootstrapping",
    title="Bootstrapping behind an intercepting middlebox",
    figure="draft-friel-tls-atls-00, figure 1 and section 3.1; the idea is RFC 8995's",
    drawing=_DRAWING,
    words="A new device comes into a network whose middlebox ends all TLS. The device has never heard of the "
    "middlebox's authority, but it shares a key with its service. So it speaks with the service inside layer 0, learns "
    "there whom to trust in this network, and connects again with verification.",
    run=run,
    secrets=(FIRST_TEXT, SECOND_TEXT, "/.well-known/est/crts"),
)
