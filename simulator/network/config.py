"""The network file: which devices there are and how the radio is. YAML 1.2, read strictly.

::

    radio: {loss: 0.05, delay_min: 0.002, delay_max: 0.02}     # every link; all keys optional
    devices:
      - eui64: "00:0d:6f:00:00:00:00:01"
        kind: lamp                  # a row of simulator.network.device_kinds
        name: kitchen               # for `atls-simulator ctl`; default: the EUI64
        manufacturer: ACME          # Basic cluster; default: the kind's
        model: L1
        join: auto                  # auto (default): joins when joining is open; manual: when ctl says so
      - eui64: "00:0d:6f:00:00:00:00:02"
        kind: thermometer
        poll_interval: 2.0          # seconds, for kinds that sleep
        enrol: trip-to-pair         # for zones (IAS): their way to enrol; default: the kind's
        radio: {loss: 0.2}          # this device's link; keys not named are those of all
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from carriage.zigbee.attach import MAX_NAME, parse_eui64
from layer.errors import PeerError
from simulator.network.device_kinds import KINDS
from simulator.network.radio import Conditions

MAX_FILE: Final = 1 << 20


def _eui64(text: str) -> str:
    try:
        parse_eui64(text)
    except PeerError as error:
        raise ValueError(str(error)) from None
    return text.lower()


def _kind(name: str) -> str:
    if name not in KINDS:
        raise ValueError(f"a kind is one of {', '.join(KINDS)}")
    return name


Seconds = Annotated[float, Field(ge=0, le=60)]
Probability = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RadioRow(_Strict):
    """Radio conditions; what is None is left as it is."""

    loss: Probability | None = None
    delay_min: Seconds | None = None
    delay_max: Seconds | None = None
    duplicate: Probability | None = None
    reorder: Probability | None = None
    hold: Seconds | None = None

    def over(self, base: Conditions) -> Conditions:
        """These conditions on top of others. Raises PeerError when they contradict each other."""
        named = {name: value for name, value in self.model_dump().items() if value is not None}
        # one end of the range alone moves the other only as far as it must
        if "delay_min" in named and "delay_max" not in named:
            named["delay_max"] = max(named["delay_min"], base.delay_max)
        if "delay_max" in named and "delay_min" not in named:
            named["delay_min"] = min(named["delay_max"], base.delay_min)
        return Conditions(
            **{name: named.get(name, getattr(base, name)) for name in RadioRow.model_fields},
        )


class DeviceRow(_Strict):
    """One device of the network file."""

    eui64: Annotated[str, AfterValidator(_eui64)]
    kind: Annotated[str, AfterValidator(_kind)]
    name: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    manufacturer: Annotated[str, Field(max_length=MAX_NAME)] | None = None
    model: Annotated[str, Field(max_length=MAX_NAME)] | None = None
    join: Literal["auto", "manual"] = "auto"
    poll_interval: Annotated[float, Field(gt=0, le=86_400)] | None = None
    enrol: Literal["trip-to-pair", "auto-enroll-response", "auto-enroll-request"] | None = None
    lqi: Annotated[int, Field(ge=0, le=255)] = 200
    rssi: Annotated[int, Field(ge=-128, le=0)] = -60
    radio: RadioRow = RadioRow()

    @property
    def address(self) -> int:
        return parse_eui64(self.eui64)


class NetworkFile(_Strict):
    """The whole file."""

    radio: RadioRow = RadioRow()
    devices: tuple[DeviceRow, ...] = ()


def load(text: str) -> NetworkFile:
    """Raises PeerError that names the key and what was expected."""
    try:
        found = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        raise PeerError(f"not YAML: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from None
    try:
        file = NetworkFile.model_validate({} if found is None else found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise PeerError(f"{where}: {first['msg']}") from None
    for key in ("eui64", "name"):
        seen = [value for row in file.devices if (value := getattr(row, key)) is not None]
        if len(set(seen)) != len(seen):
            raise PeerError(f"devices: two with the same {key}")
    return file


def read(path: Path) -> NetworkFile:
    """Raises PeerError that names the file."""
    try:
        with path.open(encoding="utf-8") as source:
            text = source.read(MAX_FILE + 1)
    except OSError as error:
        raise PeerError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PeerError(f"{path}: not UTF-8") from None
    if len(text) > MAX_FILE:
        raise PeerError(f"{path}: longer than {MAX_FILE} characters")
    try:
        return load(text)
    except PeerError as error:
        raise PeerError(f"{path}: {error}") from None
