"""A value is read alike whatever carriage it comes by: the same value, or the same words about what was expected."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.coap.representation import input_of, value_of
from adapters.mqtt.devices.set_words import fit
from adapters.mqtt.devices.values import read_input, read_set
from carriage.coap import device_resources
from gateway.api.errors import PeerError
from gateway.api.model import Address, DataSchema, DataType, DeviceView, PropertyAffordance
from gateway.api.schema import fits, is_scalar
from gateway.kit.values import of_input, of_json, of_text

bounds = st.none() | st.integers(-1000, 1000) | st.floats(-1000, 1000)
scalar_schemas = st.one_of(
    st.just(DataSchema(type=DataType.BOOLEAN)),
    st.builds(
        DataSchema,
        type=st.sampled_from([DataType.NUMBER, DataType.INTEGER]),
        minimum=bounds,
        maximum=bounds,
        multiple_of=st.none() | st.sampled_from([0.1, 0.5, 1, 10]),
    ),
    st.builds(
        DataSchema,
        type=st.just(DataType.STRING),
        enum=st.just(()) | st.lists(st.sampled_from(["heat", "cool", "ON", "off"]), min_size=1, unique=True).map(tuple),
    ),
)
schemas = scalar_schemas | st.one_of(
    st.builds(
        DataSchema, type=st.just(DataType.OBJECT), fields=st.tuples(st.tuples(st.sampled_from("xy"), scalar_schemas))
    ),
    st.builds(DataSchema, type=st.just(DataType.ARRAY), items=scalar_schemas, max_items=st.integers(0, 3)),
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-300, 300)
    | st.sampled_from(
        [2**53, -(2**63), 2**63 - 1, 10**400, 1e308, 21.0, 0.3, "on", "OFF", "true", "1", "7", "heat", "a\n"]
    )
    | st.floats(-300, 300)
    | st.text(max_size=4)
    | st.sampled_from(["x" * 256, "x" * 257])
)
values = scalars | st.lists(scalars, max_size=4) | st.dictionaries(st.sampled_from("xyz"), scalars, max_size=3)


def read(function: Any, *arguments: Any) -> tuple[str, Any]:
    try:
        found = function(*arguments)
    except PeerError as error:
        return "refused", str(error)
    return "value", (type(found), found)


def affordance(schema: DataSchema) -> PropertyAffordance:
    parts = {name: getattr(schema, name) for name in DataSchema.__dataclass_fields__}
    return PropertyAffordance(name="level", writable=True, **parts)


def view(schema: DataSchema) -> DeviceView:
    return DeviceView(
        name="lamp", address=Address(scheme="far", claim="user:lamp"), may=frozenset(("write",)), online=True,
        sleepy=False, facts=(), properties=(affordance(schema),), samples={},
    )  # fmt: skip


@given(schema=schemas, value=values)
@example(DataSchema(type=DataType.INTEGER), 1e17)
@example(DataSchema(type=DataType.NUMBER, multiple_of=0.1), 21.3)
def test_what_is_read_fits_and_what_fits_is_read(schema: DataSchema, value: Any) -> None:
    kind, found = read(of_json, value, schema)
    if kind == "value":
        assert fits(schema, found[1])
    else:
        assert found.startswith("expected ") and len(found) < 120
        text = isinstance(value, str) and not value.isprintable()
        assert not fits(schema, value) or text


@given(schema=schemas, value=values)
@example(DataSchema(type=DataType.BOOLEAN), "OFF")
@example(DataSchema(type=DataType.BOOLEAN), 1)
@example(DataSchema(type=DataType.NUMBER), "7")
@example(DataSchema(type=DataType.NUMBER), 1e300)
@example(DataSchema(type=DataType.NUMBER, minimum=0, maximum=254), 255)
@example(DataSchema(type=DataType.STRING), "x" * 257)
def test_coap_and_mqtt_read_the_same(schema: DataSchema, value: Any) -> None:
    """If both take it: over MQTT words may be in any case, and numbers beside a step."""
    wanted = affordance(schema)
    octets = json.dumps(value).encode()

    def over_mqtt() -> Any:
        return fit(read_set(octets, wanted.name).values[wanted.name], wanted)

    def over_mqtt_together() -> Any:
        return fit(read_set(b'{"level":' + octets + b"}", "").values["level"], wanted)

    expected = read(over_mqtt)
    assert read(over_mqtt_together) == expected
    over_coap = read(value_of, view(schema), wanted, device_resources.JSON, octets)
    assert read(value_of, view(schema), wanted, device_resources.JSON, b'{"value":' + octets + b"}") == over_coap
    if expected[0] == "refused":  # CoAP takes in JSON what it takes in text, too: "7" and 1
        assert over_coap == expected or over_coap == read(of_text, str(value), schema)
    elif over_coap[0] == "refused":  # MQTT takes a word in any case, and the nearest step
        assert fits(schema, expected[1][1])
    elif isinstance(value, int | float) and not isinstance(value, bool):
        assert float(expected[1][1]) == pytest.approx(float(over_coap[1][1]))
    else:
        assert fits(schema, expected[1][1]) and fits(schema, over_coap[1][1])


@given(schema=st.none() | schemas, value=values)
def test_inputs_of_actions_are_read_the_same(schema: DataSchema | None, value: Any) -> None:
    octets = json.dumps(value).encode()
    found = read(input_of, schema, b"" if value is None else octets)
    asked = read_input(b"" if value is None else b'{"input":' + octets + b"}")
    assert read(of_input, asked.values.get("input"), schema) == found


@given(schema=scalar_schemas, value=st.booleans() | st.integers(-300, 300) | st.floats(-300, 300) | st.text(max_size=4))
def test_text_and_json_are_read_the_same(schema: DataSchema, value: Any) -> None:
    """As far as both can say it: 1 and 0 are a boolean in text only, a number is none in a string of JSON."""
    if isinstance(value, str) or (schema.type is DataType.STRING) or isinstance(value, bool):
        text = value if isinstance(value, str) else str(value).lower()
        found = read(of_text, text, schema)
        if schema.type in (DataType.STRING, DataType.BOOLEAN) and text.strip() not in "10":
            assert found == read(of_json, text if schema.type is DataType.STRING else text.strip(), schema)
        return
    if schema.type is not DataType.BOOLEAN:
        assert read(of_text, repr(value), schema) == read(of_json, value, schema)


@given(schema=schemas, text=st.text())
def test_any_text_is_read_or_refused(schema: DataSchema, text: str) -> None:
    kind, found = read(of_text, text, schema)
    assert kind == "refused" or (is_scalar(schema) and fits(schema, found[1]))


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (DataSchema(type=DataType.BOOLEAN), "true or false, or ON or OFF"),
        (DataSchema(type=DataType.NUMBER), "a number"),
        (DataSchema(type=DataType.NUMBER, minimum=0, maximum=254), "a number from 0 to 254"),
        (DataSchema(type=DataType.INTEGER, maximum=9), "a whole number up to 9"),
        (DataSchema(type=DataType.NUMBER, minimum=7, multiple_of=0.5), "a number from 7 in steps of 0.5"),
        (DataSchema(type=DataType.STRING, enum=("heat", "cool")), "one of heat, cool"),
        (DataSchema(type=DataType.STRING), "printable text of at most 256 characters"),
    ],
)
def test_the_words_say_what_was_expected(schema: DataSchema, words: str) -> None:
    assert read(of_json, [], schema) == ("refused", f"expected {words}")
