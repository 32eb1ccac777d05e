"""The values that say how an association behaves and whom it accepts. Only data and its validation belong here."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, Literal

from layer.errors import UsageError

ProtocolName = Literal["dtls1.2", "tls1.3", "tls1.2"]


class Role(enum.Enum):
    """The end of the handshake: client or server."""

    CLIENT = "client"
    SERVER = "server"


#: Certificate suites for TLS and DTLS 1.2, best first: only ephemeral key exchange. CCM_8 is the one that RFC 7252
#: 9.1.3.2 makes mandatory; it comes last because its tag is short.
CERTIFICATE_SUITES: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-CCM8",
)
#: PSK suites for TLS and DTLS 1.2: forward secret ones first; PSK-AES128-CCM8 is RFC 7252 9.1.3.1's mandatory one.
PSK_SUITES: Final = (
    "ECDHE-PSK-CHACHA20-POLY1305",
    "PSK-AES128-GCM-SHA256",
    "PSK-AES128-CCM",
    "PSK-AES128-CCM8",
)
#: TLS 1.3 suites. External PSKs here go with SHA-256, so the SHA-384 suite is left out if a PSK is in use.
TLS13_SUITES: Final = ("TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_256_GCM_SHA384")
#: Everything that ``AssociationConfig.suites`` may list: authenticated encryption, with ephemeral keys or a PSK.
KNOWN_SUITES: Final = frozenset(
    (
        *CERTIFICATE_SUITES,
        *PSK_SUITES,
        "ECDHE-ECDSA-AES128-CCM",
        "ECDHE-ECDSA-AES256-CCM",
        "ECDHE-ECDSA-AES256-CCM8",
        "PSK-AES256-GCM-SHA384",
        "PSK-AES256-CCM",
        "PSK-AES256-CCM8",
        "PSK-CHACHA20-POLY1305",
    )
)
KNOWN_TLS13_SUITES: Final = frozenset((*TLS13_SUITES, "TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"))
DEFAULT_GROUPS: Final = ("X25519", "P-256")

#: OpenSSL silently ignores an MTU below this (measured with 4.0.3: 208 is its floor, 227 what a PSK flight needs).
MIN_MTU: Final = 256
MAX_MTU: Final = 16384


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRequirement:
    """The identity that the peer must prove. Empty: any peer that authenticated (PSK, or certificate under an anchor).

    ``psk_identities`` accepts PSK peers with one of these. For certificate peers each non-empty one of ``spki_sha256``
    (64 hex digits; with a pin and no trust anchors the pin alone decides, validity dates included) and ``names``
    (``dns:host`` or ``uri:...``, exact, in the subject alternative names) must match. ``anonymous`` also accepts a peer
    that proved nothing; it goes only with an otherwise empty requirement.
    """

    psk_identities: frozenset[bytes] = frozenset()
    spki_sha256: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    anonymous: bool = False

    def __post_init__(self) -> None:
        for pin in self.spki_sha256:
            if len(pin) != 64 or pin.strip("0123456789abcdef"):
                raise UsageError("a pin is 64 lower-case hexadecimal digits")
        for name in self.names:
            if not name.startswith(("dns:", "uri:")) or len(name) == 4:
                raise UsageError("an expected name starts with dns: or uri:")
        if self.anonymous and not self.unrestricted:
            raise UsageError("a peer can't be both anonymous and expected")

    @property
    def unrestricted(self) -> bool:
        """True when no particular peer is asked for."""
        return not (self.psk_identities or self.spki_sha256 or self.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationConfig:
    """The settings of an association. Times in seconds, sizes in octets. Raises ``UsageError`` for impossible values.

    ``suites``  OpenSSL names out of ``KNOWN_SUITES`` or ``KNOWN_TLS13_SUITES``; empty: those that fit the credentials
    ``groups``  key exchange groups; ``X25519MLKEM768`` can be put first if the size is worth it (TLS 1.3 only)
    ``mtu``     DTLS: no datagram is longer
    ``chunk``   TLS: no item of ``records_to_send`` is longer
    ``alpn``    names offered (client) or accepted, in order of preference (server)
    ``server_name``  TLS server name indication of a client
    ``require_client_certificate``  server: a client without certificate (and without PSK) is refused
    ``handshake_timeout``  the whole handshake; it is also what ends a DTLS handshake with a wrong PSK, which stalls
    ``retransmit_initial`` first DTLS retransmission, doubling up to ``retransmit_max`` (RFC 6347 4.2.4); 9 s suits
                           long paths through a middlebox (RFC 7925 11), 1 s a direct hop
    ``answer_close``  answer the peer's close_notify at once; False leaves our direction open until ``close``
    """

    protocol: ProtocolName = "dtls1.2"
    suites: tuple[str, ...] = ()
    groups: tuple[str, ...] = DEFAULT_GROUPS
    mtu: int = 1152
    chunk: int = 4096
    peer: PeerRequirement = PeerRequirement()
    require_client_certificate: bool = True
    alpn: tuple[str, ...] = ()
    server_name: str | None = None
    handshake_timeout: float = 60.0
    retransmit_initial: float = 9.0
    retransmit_max: float = 60.0
    answer_close: bool = True

    def __post_init__(self) -> None:
        if self.protocol not in ("dtls1.2", "tls1.3", "tls1.2"):
            raise UsageError(f"unknown protocol {self.protocol!r}")
        if not MIN_MTU <= self.mtu <= MAX_MTU:
            raise UsageError(f"mtu must be {MIN_MTU} to {MAX_MTU}")
        known = KNOWN_TLS13_SUITES if self.protocol == "tls1.3" else KNOWN_SUITES
        unknown = [suite for suite in self.suites if suite not in known]
        if unknown:
            raise UsageError(
                f"suite {unknown[0]!r} does not go with {self.protocol}; known: {', '.join(sorted(known))}"
            )
        if self.server_name is not None and not (self.server_name.isascii() and 0 < len(self.server_name) < 256):
            raise UsageError("a server name has 1 to 255 ASCII characters")
        if self.chunk < 1:
            raise UsageError("chunk must be at least 1")
        if self.handshake_timeout <= 0 or not 0 < self.retransmit_initial <= self.retransmit_max:
            raise UsageError("times must be positive and retransmit_initial at most retransmit_max")
        if not self.groups:
            raise UsageError("at least one group is needed")
        for name in self.alpn:
            if not 1 <= len(name.encode()) <= 255:
                raise UsageError("an ALPN name has 1 to 255 octets")

    @property
    def datagram(self) -> bool:
        """True for DTLS."""
        return self.protocol == "dtls1.2"
