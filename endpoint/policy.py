"""The layer-0 policy file: what an endpoint asks of the other end, read strictly. Its owner is the endpoint's owner.

The gateway has its own policy (layer 1) in another file, with another schema and another reader; each side
refuses the other's. Every mistake is one line ``FILE:LINE: key.path: expected ...``.
"""

from __future__ import annotations

import hmac
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from endpoint.files import load_credentials, warn_of_others
from layer.association import Association
from layer.config import AssociationConfig, PeerRequirement, Role
from layer.credentials import Credentials
from layer.errors import CredentialError, UsageError

MAX_FILE = 256 * 1024
MAX_NODES = 500
"""Values in a file, those inside others too; also bounds how deep they nest."""


class PolicyError(Exception):
    """A layer-0 policy that can't be used; the text is one line with file, line, key path and what was expected."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


_PIN_PATTERN = r"^[0-9a-f]{64}$"
_PEER_NAME_PATTERN = r"^(dns|uri):.{1,249}$"
_Hex64 = Annotated[str, StringConstraints(pattern=_PIN_PATTERN)]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=253)]
_PeerName = Annotated[str, StringConstraints(pattern=_PEER_NAME_PATTERN)]


class CredentialFiles(_Table):
    """Layer-0 credentials. Either a PSK, or a certificate with its key and the anchors to judge the peer by."""

    psk_identity: _Name | None = None
    psk_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    trust_file: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> CredentialFiles:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file, both or neither")
        if self.psk_file is None and self.certificate_file is None:
            raise ValueError("psk_file, or certificate_file with key_file")
        return self


class PeerTable(_Table):
    """The identity that the other end must prove. Names are ``dns:host`` or ``uri:...`` of its certificate."""

    psk_identity: _Name | None = None
    spki_sha256: tuple[_Hex64, ...] = Field(default=(), strict=False)
    names: tuple[_PeerName, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _some(self) -> PeerTable:
        if self.psk_identity is None and not self.spki_sha256 and not self.names:
            raise ValueError("psk_identity, spki_sha256 or names")
        return self


class PolicyFile(_Table):
    """The whole file. Without ``peer`` any other end that authenticates is taken: everyone whose PSK is in our file,
    everyone with a certificate under our anchors. Session tickets and early data are never used."""

    layer: Literal[0]
    policy_version: Literal[1] = Field(alias="policy-version")
    protocol: Literal["dtls1.2", "tls1.3"]
    credentials: CredentialFiles
    peer: PeerTable | None = None
    application: Literal["coap", "raw"] = "coap"
    first_hop_errors: Literal["refuse", "ignore"] = "refuse"
    suites: tuple[_Name, ...] = Field(default=(), strict=False)
    groups: tuple[_Name, ...] = Field(default=(), strict=False)
    handshake_timeout: Annotated[float, Field(ge=1, le=600, strict=False)] = 60.0
    retransmit_initial: Annotated[float, Field(ge=1, le=60, strict=False)] = 9.0

    @model_validator(mode="after")
    def _fits(self) -> PolicyFile:
        """Raise if our credentials can't prove the identity that the peer must have."""
        has, wants = self.credentials, self.peer or PeerTable.model_construct()
        if wants.psk_identity is not None and has.psk_file is None:
            raise ValueError("credentials.psk_file beside peer.psk_identity")
        if (wants.names or wants.spki_sha256) and has.certificate_file is None and has.trust_file is None:
            raise ValueError("credentials.trust_file or certificate_file beside peer.names and peer.spki_sha256")
        if has.certificate_file is not None and has.trust_file is None and not wants.spki_sha256:
            raise ValueError("credentials.trust_file or peer.spki_sha256, to judge the peer's certificate by")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer0Policy:
    """A policy ready for use: parsed, its credentials loaded."""

    config: AssociationConfig
    credentials: Credentials
    application: Literal["coap", "raw"]
    first_hop_errors: Literal["refuse", "ignore"] = "refuse"
    """Of the certificate at the first hop, over HTTPS (draft-friel-tls-atls-00, section 3.1)."""

    @property
    def kind(self) -> Literal["atls", "adtls"]:
        """The content kind that sessions under this policy have."""
        return "adtls" if self.config.protocol.startswith("dtls") else "atls"


def read_policy(path: Path, *, layer1_keys: tuple[bytes, ...] = ()) -> Layer0Policy:
    """Read, check and load the layer-0 policy at ``path``; relative file names count from its folder.

    ``layer1_keys`` are the PSKs that this endpoint shows to the gateway: none of them may serve here too (RFC 9257).
    Raises PolicyError.
    """
    document, lines = _read(path)
    if type(document.get("layer")) is int and document["layer"] == 1:
        raise PolicyError(f"{path}:{lines(('layer',))}: layer: expected 0; this is a gateway's policy (layer 1)")
    try:
        table = PolicyFile.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        key = tuple(first["loc"]) or ("credentials",)  # what concerns the whole is how credentials and peer fit
        raise PolicyError(f"{path}:{lines(key)}: {_dotted(key)}: expected {_expected(first)}") from None
    try:
        credentials, keys = load_credentials(
            path.parent,
            certificate_file=table.credentials.certificate_file,
            key_file=table.credentials.key_file,
            trust_file=table.credentials.trust_file,
            psk_file=table.credentials.psk_file,
            psk_identity=table.credentials.psk_identity,
        )
    except CredentialError as error:
        raise PolicyError(f"{path}:{lines(('credentials',))}: credentials: expected a usable file: {error}") from None
    if any(hmac.compare_digest(key, other) for key in keys for other in layer1_keys):
        raise PolicyError(
            f"{path}:{lines(('credentials', 'psk_file'))}: credentials.psk_file: expected another PSK than the one "
            "used towards the gateway (RFC 9257)"
        )
    try:
        config = _config(table)
        _try(credentials, config)
    except (UsageError, CredentialError) as error:
        name = next((name for name in ("suites", "groups") if name.removesuffix("s") in str(error)), "protocol")
        raise PolicyError(f"{path}:{lines((name,))}: {name}: expected what goes together: {error}") from None
    return Layer0Policy(
        config=config, credentials=credentials, application=table.application, first_hop_errors=table.first_hop_errors
    )


def _try(credentials: Credentials, config: AssociationConfig) -> None:
    """Let OpenSSL take the policy in now, not at the first session. Either role will do: a PSK-less client has none to
    show, a certificate-less server none either. Raises the client's error if neither works."""
    problem: UsageError | CredentialError | None = None
    for role in (Role.SERVER, Role.CLIENT):
        try:
            Association(role, credentials, config)
            return
        except (UsageError, CredentialError) as error:
            problem = error
    assert problem is not None
    raise problem


def _config(table: PolicyFile) -> AssociationConfig:
    peer = table.peer or PeerTable.model_construct()
    optional: dict[str, Any] = {"groups": table.groups} if table.groups else {}
    return AssociationConfig(
        protocol=table.protocol,
        peer=PeerRequirement(
            psk_identities=frozenset({peer.psk_identity.encode()} if peer.psk_identity else ()),
            spki_sha256=frozenset(peer.spki_sha256),
            names=frozenset(peer.names),
        ),
        suites=table.suites,
        handshake_timeout=table.handshake_timeout,
        retransmit_initial=table.retransmit_initial,
        **optional,
    )


def _read(path: Path) -> tuple[dict[str, Any], Any]:
    """The document and a function from key path to line number."""
    try:
        raw = path.read_bytes()
        warn_of_others(path)
    except OSError as error:
        raise PolicyError(f"{path}:0: (file): expected a readable file: {error.strerror}") from None
    if len(raw) > MAX_FILE:
        raise PolicyError(f"{path}:0: (file): expected at most {MAX_FILE} octets")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what could be read in two ways is refused
            document = YAML(typ="rt", pure=True).load(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise PolicyError(f"{path}:0: (file): expected UTF-8") from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise PolicyError(f"{path}:{line}: (syntax): expected YAML 1.2: {_one_line(error.problem)}") from None
    except (YAMLError, Warning, ValueError, RecursionError) as error:
        raise PolicyError(f"{path}:0: (syntax): expected YAML 1.2: {_one_line(error)}") from None
    if not isinstance(document, CommentedMap):
        raise PolicyError(f"{path}:1: (top level): expected a mapping with layer: 0")

    def line_of(key: tuple[str | int, ...]) -> int:
        node: object = document
        line = 1
        for part in key:
            if isinstance(node, CommentedMap) and part in node:
                line = node.lc.key(part)[0] + 1
                node = node[part]
            elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
                line = node.lc.item(part)[0] + 1
                node = node[part]
            else:
                break
        return int(line)

    plain = _plain(document, [MAX_NODES])
    if not isinstance(plain, dict):
        raise PolicyError(f"{path}:1: (file): expected at most {MAX_NODES} values, none within itself")
    return plain, line_of


def _plain(node: object, left: list[int]) -> object:
    """``node`` without ruamel's types; None once more than ``left`` values were met (aliases can make many of few)."""
    left[0] -= 1
    if left[0] < 0:
        return None
    if isinstance(node, CommentedMap):
        table = {str(key): _plain(value, left) for key, value in node.items()}
        return table if left[0] >= 0 else None
    if isinstance(node, CommentedSeq):
        return [_plain(value, left) for value in node]
    return node


def _one_line(problem: object) -> str:
    return " ".join(str(problem).split())


def _dotted(key: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in key) or "(top level)"


_EXPECTED = {
    "extra_forbidden": "no such key (see docs/endpoint.md for the keys)",
    "missing": "this key to be there",
    "tuple_type": "a list",
    _PIN_PATTERN: "64 lower-case hexadecimal digits",
    _PEER_NAME_PATTERN: "dns:HOST or uri:...",
}


def _expected(error: Any) -> str:
    kind = error["ctx"]["pattern"] if error["type"] == "string_pattern_mismatch" else error["type"]
    text = str(_EXPECTED.get(kind, error["msg"]))
    for lead in ("Value error, ", "Input should be ", "String should have "):
        text = text.removeprefix(lead)
    return _one_line(text)
