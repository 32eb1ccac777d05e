"""The words that a plug-in brings along: claims that its links prove, link protocols, kinds of content.

The kernel has none of these words itself. Each plug-in declares a ``Vocabulary``; ``gateway.runtime.vocabularies``
merges those of a gateway into one ``MergedVocabulary``, which the policy is read by and which the engine judges by. The
words that several plug-ins share stand here too, so that they mean the same in each of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Final
from weakref import WeakValueDictionary

_WORD = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,30}[a-z0-9])?")
_KEY = re.compile(r"[a-z][a-z0-9_]{0,31}")
_PREFIX = re.compile(r"[a-z][a-z0-9-]{0,31}")


class ContentKind:
    """The content kind of a session; explicit and fixed when it opens, never guessed from the first octet.

    A word of at most 32 lower-case letters, digits, ``.``, ``_`` and ``-``. There is one object for each word, so kinds
    are compared by ``is``. ValueError: no such word. What a peer says is not made a kind before its adapter knows it.
    """

    __slots__ = ("__weakref__", "value")

    ATLS: ClassVar[ContentKind]
    """TLS records (draft-friel-tls-atls)."""
    ADTLS: ClassVar[ContentKind]
    """DTLS records, one datagram a unit."""
    ATLS_DATA: ClassVar[ContentKind]
    """Data under keys that the endpoints exported from their session."""
    OSCORE: ClassVar[ContentKind]
    """RFC 8613."""
    EDHOC: ClassVar[ContentKind]
    """RFC 9528."""

    value: str
    _all: ClassVar[WeakValueDictionary[str, ContentKind]] = WeakValueDictionary()

    def __new__(cls, value: str) -> ContentKind:
        kind = cls._all.get(value)
        if kind is None:
            if not _WORD.fullmatch(value):
                raise ValueError("expected a kind of content: at most 32 of a-z, 0-9, '.', '_' and '-'")
            kind = super().__new__(cls)
            kind.value = value
            cls._all[value] = kind
        return kind

    def __repr__(self) -> str:
        return f"ContentKind({self.value!r})"

    def __reduce__(self) -> tuple[type[ContentKind], tuple[str]]:
        return ContentKind, (self.value,)


ContentKind.ATLS = ContentKind("atls")
ContentKind.ADTLS = ContentKind("adtls")
ContentKind.ATLS_DATA = ContentKind("atls-data")
ContentKind.OSCORE = ContentKind("oscore")
ContentKind.EDHOC = ContentKind("edhoc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An identity that a link can prove.

    ``key``: how a subject of the policy file names it. ``prefix``: how it begins in ``Peer.claims``, without the colon.
    ``description``: for the JSON Schema. ``normalise``: one spelling for all, from what YAML read: text, or a number or
    a boolean if quotes are missing. ValueError says what was expected; what comes back must be text. None: any text of
    1 to 128 characters. ``pattern`` and ``examples``: the same for the schema. ``no_sessions``, ``no_devices``: why a
    peer known by it can have no sessions, or can use neither devices nor the gateway; a rule for such a peer is warned
    of in these words. ``cast``: it names a cast group, whose rights are those to each of its members.
    """

    key: str
    prefix: str
    description: str = field(compare=False)
    normalise: Callable[[Any], Any] | None = None
    pattern: str = field(default="", compare=False)
    examples: tuple[str, ...] = field(default=(), compare=False)
    no_sessions: str = field(default="", compare=False)
    no_devices: str = field(default="", compare=False)
    cast: bool = False

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key) or self.key == "link":
            raise ValueError(f"a claim's key has at most 32 of a-z, 0-9 and '_', and is not link: {self.key!r}")
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError(f"a claim's prefix has at most 32 of a-z, 0-9 and '-': {self.prefix!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkProtocol:
    """A protection that a link can have, as ``LinkSecurity.protocol`` names it.

    Only protocols of one ``family`` can be compared; of two the one with the higher ``rank`` is the better. ``least``:
    whether a policy may ask for it as ``min_version``. ``link_key``: it is what ``link_key: true`` asks for.
    """

    name: str
    family: str
    rank: int
    least: bool = True
    link_key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KindWord:
    """A kind of content. ``records``: whether the gateway sees record headers in it; it reads TLS and DTLS only."""

    name: str
    description: str = field(default="", compare=False)
    records: bool = False

    def __post_init__(self) -> None:
        ContentKind(self.name)  # ValueError: no such word

    @property
    def content(self) -> ContentKind:
        return ContentKind(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The vocabulary that one plug-in declares.

    ``device_network``: whether its peers are devices (it submits a ``Join`` of them): what rules for ``read``,
    ``observe``, ``write`` and ``invoke`` are about, and the policy's directions ``from-device`` and ``to-device``.
    ``usual_link``: the protocol by which its peers usually come, for questions that don't say. ``best_link``: the best
    by which they can come; empty: any of ``links``.
    """

    claims: tuple[Claim, ...] = ()
    links: tuple[LinkProtocol, ...] = ()
    kinds: tuple[KindWord, ...] = ()
    device_network: bool = False
    usual_link: str = "none"
    best_link: str = ""


@dataclass(frozen=True)
class MergedVocabulary:
    """The words of all plug-ins together, by scheme; a word that two of them have means the same in both."""

    plugins: Mapping[str, Vocabulary] = field(default_factory=dict)

    @cached_property
    def claims(self) -> Mapping[str, Claim]:
        """By their keys in the policy file."""
        return {claim.key: claim for words in self.plugins.values() for claim in words.claims}

    @cached_property
    def claim_keys(self) -> Mapping[str, str]:
        """The keys in the policy file by what the claims begin with."""
        return {claim.prefix: key for key, claim in self.claims.items()}

    @cached_property
    def links(self) -> Mapping[str, LinkProtocol]:
        return {link.name: link for words in self.plugins.values() for link in words.links}

    @cached_property
    def kinds(self) -> Mapping[ContentKind, KindWord]:
        return {kind.content: kind for words in self.plugins.values() for kind in words.kinds}

    @cached_property
    def record_kinds(self) -> frozenset[ContentKind]:
        """The kinds whose record headers the gateway can see; of the others it knows size and rate only."""
        return frozenset(content for content, kind in self.kinds.items() if kind.records)

    @cached_property
    def device_networks(self) -> frozenset[str]:
        """The schemes whose peers are devices in the sense of ``from-device`` and ``to-device``."""
        return frozenset(scheme for scheme, words in self.plugins.items() if words.device_network)

    @cached_property
    def link_key_networks(self) -> frozenset[str]:
        """The schemes of whose hops a policy asks ``link_key``, and neither a version nor suites."""
        return frozenset(s for s, words in self.plugins.items() if any(link.link_key for link in words.links))

    def claim_of(self, identity: str) -> Claim | None:
        """The claim that an identity such as ``psk:phone`` is one of."""
        return self.claims.get(self.claim_keys.get(identity.partition(":")[0], ""))

    def network_of(self, key: str) -> str:
        """The scheme of the device network whose devices prove the claim with this key; empty: there is none."""
        return next((scheme for scheme in sorted(self.device_networks) if key in self.proves(scheme)), "")

    def too_much(self, scheme: str, wanted: str) -> str:
        """Why no peer of this scheme comes by a protocol as good as ``wanted``; empty: one may."""
        words = self.plugins.get(scheme)
        best = None if words is None else self.links.get(words.best_link)
        asked = self.links.get(wanted)
        if best is None or asked is None or asked.family != best.family or asked.rank <= best.rank:
            return ""
        fit = [
            link for link in self.links.values() if link.least and (link.family, link.rank) == (best.family, best.rank)
        ]
        most = " or ".join(sorted(link.name for link in fit))
        return f"{scheme} peers come by {best.name}, so min_version can be {most} at most"

    def proves(self, scheme: str) -> tuple[str, ...]:
        """The keys of the claims that the plug-in of this scheme declares."""
        words = self.plugins.get(scheme)
        return () if words is None else tuple(claim.key for claim in words.claims)

    def families(self, scheme: str) -> frozenset[str]:
        """The families of link protocols that the plug-in of this scheme declares."""
        words = self.plugins.get(scheme)
        return frozenset() if words is None else frozenset(link.family for link in words.links)

    def usual_link(self, scheme: str) -> str:
        words = self.plugins.get(scheme)
        return "none" if words is None else words.usual_link


NO_WORDS: Final = MergedVocabulary()

TLS: Final = "tls"
"""The family of TLS and DTLS. DTLS stands beside the TLS version it was derived from (RFC 6347, RFC 9147)."""

TLS_LINKS: Final = (
    LinkProtocol(name="none", family=TLS, rank=0, least=False),
    LinkProtocol(name="tls1.0", family=TLS, rank=1, least=False),
    LinkProtocol(name="tls1.1", family=TLS, rank=2, least=False),
    LinkProtocol(name="dtls1.0", family=TLS, rank=2, least=False),
    LinkProtocol(name="tls1.2", family=TLS, rank=3),
    LinkProtocol(name="tls1.3", family=TLS, rank=4),
    LinkProtocol(name="dtls1.2", family=TLS, rank=3),
    LinkProtocol(name="dtls1.3", family=TLS, rank=4),
)
"""For plug-ins whose links are protected by TLS or DTLS, or by nothing."""

ATLS: Final = KindWord(name="atls", description="TLS records.", records=True)
ADTLS: Final = KindWord(name="adtls", description="DTLS records, one datagram a unit.", records=True)
ATLS_DATA: Final = KindWord(name="atls-data", description="Data under keys that the endpoints exported.")
OSCORE: Final = KindWord(name="oscore", description="RFC 8613.")
EDHOC: Final = KindWord(name="edhoc", description="RFC 9528.")
SHARED_KINDS: Final = (ATLS, ADTLS, ATLS_DATA, OSCORE, EDHOC)
"""For plug-ins that carry whatever the others do."""


_SHA256 = re.compile("[0-9a-f]{64}")


def _spki(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.strip().lower().replace(":", "")
    if not _SHA256.fullmatch(text):
        raise ValueError("expected the 64 hexadecimal digits of a SHA-256")
    return text


def _san(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    kind, _, name = value.partition(":")
    if kind not in ("dns", "uri", "ip") or not name:
        raise ValueError("expected dns:NAME, uri:URI or ip:ADDRESS")
    return value


SPKI: Final = Claim(
    key="spki_sha256",
    prefix="spki",
    description="SHA-256 of its certificate's SubjectPublicKeyInfo, in hex.",
    normalise=_spki,
    pattern="^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$",
)
SAN: Final = Claim(
    key="san",
    prefix="san",
    description="A SubjectAltName of its certificate, such as dns:app.example.",
    normalise=_san,
    pattern="^(dns|uri|ip):.+$",
    examples=("dns:app.example",),
)
"""For plug-ins whose peers may prove themselves by a certificate."""
