"""CoAP over reliable transports: the framing of RFC 8323 section 3.2 with a bounded incremental decoder, and its CSM.
What a connection does with the signalling messages of section 5 is in ``stream_layer``.

Frame: one octet length nibble and token length, 0, 1, 2 or 4 octets of extended length, code, token, options and
payload. The length counts options, marker and payload. ``Message.type`` and ``Message.message_id`` carry no meaning
here (CON, 0: a stream is reliable).
"""

from __future__ import annotations

from typing import Final

from carriage.coap import codes
from carriage.coap.message import CON, Message, decode_options, encode_options
from carriage.coap.options import Options, encode_uint
from layer.errors import PeerError, UsageError

# Option numbers of the signalling messages; each code has its own number space (RFC 8323 section 11.2).
CSM_MAX_MESSAGE_SIZE: Final = 2
CSM_BLOCK_WISE_TRANSFER: Final = 4
ABORT_BAD_CSM_OPTION: Final = 2

BASE_MAX_MESSAGE_SIZE: Final = 1152  # what may be assumed before a CSM says more (section 5.3.1)


def encode_frame(message: Message) -> bytes:
    """One framed message. Raises ``UsageError`` for a token over 8 octets."""
    token = message.token
    if len(token) > 8:
        raise UsageError("a token has at most 8 octets")
    rest = encode_options(message.options, message.payload)
    length = len(rest)
    if length < 13:
        head = bytes((length << 4 | len(token), message.code))
    elif length < 269:
        head = bytes((13 << 4 | len(token), length - 13, message.code))
    elif length < 65_805:
        head = bytes((14 << 4 | len(token), *(length - 269).to_bytes(2, "big"), message.code))
    else:
        head = bytes((15 << 4 | len(token), *(length - 65_805).to_bytes(4, "big"), message.code))
    return head + token + rest


def capabilities(max_message_size: int) -> Message:
    """The CSM that opens a connection: our largest frame, and that block-wise transfer is understood."""
    options: Options = ((CSM_MAX_MESSAGE_SIZE, encode_uint(max_message_size)), (CSM_BLOCK_WISE_TRANSFER, b""))
    return Message(CON, codes.CSM, 0, b"", options)


class FrameDecoder:
    """Octets in, messages out, never more than one frame of ``max_message_size`` octets kept.

    A ``PeerError`` means that the stream has lost its sense: the caller closes the connection.
    """

    __slots__ = ("_buffer", "_limit")

    def __init__(self, max_message_size: int) -> None:
        if max_message_size < BASE_MAX_MESSAGE_SIZE:
            raise UsageError(f"max_message_size below {BASE_MAX_MESSAGE_SIZE}")
        self._buffer = bytearray()
        self._limit = max_message_size

    @property
    def buffered(self) -> int:
        """Octets of an unfinished frame."""
        return len(self._buffer)

    def feed(self, octets: bytes) -> list[Message]:
        """Every message that is complete now. Raises ``PeerError`` on a frame that is too large or malformed."""
        buffer = self._buffer
        buffer += octets
        messages: list[Message] = []
        at = 0
        size = len(buffer)
        while at < size:
            found = _measure(buffer, at, size)
            if found is None:
                break
            start, length, token_length = found
            end = start + 1 + token_length + length
            if end - at > self._limit:
                raise PeerError("a frame larger than announced as acceptable")
            if end > size:
                break
            code = buffer[start]
            body = bytes(buffer[start + 1 : end])
            at = end
            if not _known_class(code):
                raise PeerError("a code of a reserved class")
            options, payload = decode_options(body, token_length)
            if code:
                messages.append(Message(CON, code, 0, body[:token_length], options, payload))
            # An empty message is ignored wherever it comes (RFC 8323 section 3.4): a keep-alive of the framing.
        del buffer[:at]
        return messages


def _known_class(code: int) -> bool:
    return code >> 5 not in (1, 6)


def _measure(buffer: bytearray, at: int, size: int) -> tuple[int, int, int] | None:
    """Offset of the code, length behind the token, token length; ``None`` if the header is not complete."""
    nibble = buffer[at] >> 4
    token_length = buffer[at] & 15
    if token_length > 8:
        raise PeerError("token length 9 to 15 is reserved")
    if nibble < 13:
        start, length = at + 1, nibble
    else:
        octets = (1, 2, 4)[nibble - 13]
        start = at + 1 + octets
        if start > size:
            return None
        length = int.from_bytes(buffer[at + 1 : start], "big") + (13, 269, 65_805)[nibble - 13]
    return (start, length, token_length) if start < size else None
