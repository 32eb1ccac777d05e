"""The ZigBee adapter's vocabulary: the claim that its network proves, its two keys, its tunnels' content kinds.

A policy is read by these words whether the adapter is configured or not, so this file imports no library.
"""

from __future__ import annotations

from typing import Final

from gateway.api.cast_group import parse_group
from gateway.api.eui64 import parse_eui64
from gateway.api.link import LinkOrder
from gateway.api.vocabulary import ADTLS, ATLS, Claim, LinkProtocol, Vocabulary

VOCABULARY: Final = Vocabulary(
    claims=(
        Claim(
            key="eui64",
            prefix="eui64",
            description="A ZigBee device's address, in any usual spelling.",
            normalise=parse_eui64,
            pattern="^(0[xX])?[0-9A-Fa-f]{2}([:-]?)[0-9A-Fa-f]{2}(\\2[0-9A-Fa-f]{2}){6}$",
            examples=("00:0d:6f:00:0b:5d:e3:b6",),
        ),
        Claim(
            key="zigbee_group",
            prefix="zigbee-group",
            description="A ZigBee group: devices that one message reaches; a rule must permit each.",
            normalise=parse_group,
            pattern="^(0[xX][0-9A-Fa-f]{1,4}|[1-9][0-9]{0,4})$",
            examples=("0x0001",),
            no_sessions="a ZigBee group has no sessions",
            cast=True,
        ),
    ),
    links=(
        LinkProtocol(name="zigbee-network-key", family="zigbee", rank=1, least=False),
        LinkProtocol(name="zigbee-link-key", family="zigbee", rank=2, least=False, link_key=True),
    ),
    kinds=(ATLS, ADTLS),
    device_network=True,
    usual_link="zigbee-network-key",
)

meets = LinkOrder(VOCABULARY.links).meets
