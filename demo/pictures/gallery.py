"""All pictures, by name."""

from __future__ import annotations

from typing import Final

from demo.pictures import bootstrapping, gateway, middlebox
from demo.pictures.picture import Picture

_ALL: tuple[Picture, ...] = (
    bootstrapping.PICTURE,
    gateway.PICTURE,
    middlebox.PICTURE,
)

PICTURES: Final[dict[str, Picture]] = {picture.name: picture for picture in _ALL}
