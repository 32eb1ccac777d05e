"""All pictures, by name."""

from __future__ import annotations

from typing import Final

from demo.pictures import bootstrapping, gateway, middlebox, proxies, two_transports
from demo.pictures.picture import Picture

_ALL: tuple[Picture, ...] = (
    bootstrapping.PICTURE,
    gateway.PICTURE,
    middlebox.PICTURE,
    proxies.PICTURE,
    two_transports.PICTURE,
)

PICTURES: Final[dict[str, Picture]] = {picture.name: picture for picture in _ALL}
