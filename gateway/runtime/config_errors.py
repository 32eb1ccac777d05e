"""Turns what pydantic and the adapters find wrong into one ConfigError each, at the line of the value.

Values never appear in a message: a key written in the place of its file's name must not end in a log.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from gateway.api.errors import ConfigError, CredentialError
from gateway.api.hints import did_you_mean
from gateway.runtime.config_source import InvalidConfigError, Source
from gateway.runtime.strict_yaml import Key

_Model = TypeVar("_Model", bound=BaseModel)

_EXPECTED: Mapping[str, str] = {
    "missing": "expected a value: this key is required",
    "extra_forbidden": "expected no such key here",
    "string_type": "expected a string (in quotes if it looks like a number)",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_parsing_size": "expected a smaller number",
    "float_parsing": "expected a number",
    "bool_parsing": "expected true or false",
    "finite_number": "expected a number that is not infinite",
    "multiple_of": "expected a multiple of {multiple_of}",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "dict_type": "expected a table (lines of 'key: value')",
    "model_type": "expected a table (lines of 'key: value')",
    "model_attributes_type": "expected a table (lines of 'key: value')",
    "dataclass_type": "expected a table (lines of 'key: value')",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "set_type": "expected a list",
    "frozen_set_type": "expected a list",
    "path_type": "expected a path (a string)",
    "literal_error": "expected {expected}",
    "enum": "expected {expected}",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected at least {ge}",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected at most {le}",
    "string_too_short": "expected at least {min_length} characters",
    "string_too_long": "expected at most {max_length} characters",
    "too_short": "expected at least {min_length} entries",
    "too_long": "expected at most {max_length} entries",
}


def validated(model: type[_Model], values: object, source: Source, prefix: Key = ()) -> _Model:
    """The values as ``model`` reads them; InvalidConfigError with a line for each place that pydantic complains about.

    ``prefix``: where in ``source`` the values are.
    """
    table, found = read(model, values, source, prefix)
    if table is None:
        raise InvalidConfigError([mistake for _, mistake in found])
    return table


def read(
    model: type[_Model], values: object, source: Source, prefix: Key = ()
) -> tuple[_Model | None, list[tuple[Key, ConfigError]]]:
    """The values as ``model`` reads them, or None and all that is wrong, each with its key counted from ``prefix``."""
    try:
        return model.model_validate(values), []
    except ValidationError as error:
        return None, list(_mistakes(error, model, source, prefix))


def without(values: Any, keys: Collection[Key]) -> Any:
    """A copy of plain values without these keys: what is left can be checked although they are wrong."""
    if not isinstance(values, dict):
        return values
    inner = {name: [key[1:] for key in keys if len(key) > 1 and key[0] == name] for name in values}
    return {name: without(value, inner[name]) for name, value in values.items() if (name,) not in keys}


def _mistakes(
    error: ValidationError, model: type[BaseModel], source: Source, prefix: Key
) -> Iterator[tuple[Key, ConfigError]]:
    seen: set[Key] = set()
    found: list[tuple[Key, ConfigError]] = []
    for detail in error.errors(include_url=False):
        key = _key(source, prefix, detail)
        if key not in seen:  # a union complains once for each of its members
            seen.add(key)
            found += [(key[len(prefix) :], source.mistake(key, text)) for text in _texts(detail, model)]
    yield from sorted(found, key=lambda entry: entry[1].line)


def from_adapter(error: ConfigError | CredentialError, source: Source, prefix: Key) -> ConfigError:
    """A mistake that an adapter found in its table at ``prefix``, reported at the line of the key."""
    if isinstance(error, ConfigError):
        return relocated(error, source, prefix)
    return _from_credential(error, source, prefix)


def leaves(group: BaseExceptionGroup[Any]) -> Iterator[Any]:
    """The single errors of an exception group."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error


def relocated(error: ConfigError, source: Source, prefix: Key) -> ConfigError:
    """The same mistake with its key counted from the top of the file; untouched if it has a place already."""
    if error.file:
        return error
    key = prefix
    for part in filter(None, error.key.split(".")):
        key = (*key, int(part) if part.isdigit() and not source.holds((*key, part)) else part)
    return source.mistake(key, error.expected)


def _from_credential(error: CredentialError, source: Source, prefix: Key) -> ConfigError:
    """The mistake at the key that names the credential file, or at the table where none does."""
    table: Any = source.data
    for part in prefix:
        table = table[part]
    key = _naming(table, Path(error.path), source.base)
    text = str(error).removeprefix(f"{error.path}: ")
    return source.mistake((*prefix, *key), f"expected a usable credential file: {error.path}: {text}")


def _naming(value: Any, path: Path, base: Path) -> Key:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        if isinstance(inner, str) and (base / inner) == (base / path):
            return (name,)
        if deeper := _naming(inner, path, base):
            return (name, *deeper)
    return ()


def _key(source: Source, prefix: Key, detail: ErrorDetails) -> Key:
    """The key path of a complaint, without the parts that pydantic adds for unions and validators."""
    key = prefix
    for part in detail["loc"]:
        if source.holds((*key, part)) or (detail["type"] == "missing" and part == detail["loc"][-1]):
            key = (*key, part)
        elif source.holds((*key, str(part))):  # a key that the model reads as a number
            key = (*key, str(part))
    return key


def _texts(detail: ErrorDetails, model: type[BaseModel]) -> list[str]:
    """The expectations. Several only if a validator raised a ValueError with several arguments."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in ("value_error", "assertion_error"):
        expectations = getattr(context.get("error"), "args", None) or (detail["msg"],)
        return [text if text.startswith("expected") else f"expected {text}" for text in map(str, expectations)]
    if kind == "extra_forbidden":
        name, known = str(detail["loc"][-1]), _known(model, detail["loc"][:-1])
        if expected := getattr(_table(model, detail["loc"][:-1]), "expected_keys", ""):
            return [f"expected {expected}" + did_you_mean(name, known)]
        meant = did_you_mean(name, known) or (f" (known: {', '.join(sorted(known))})" if known else "")
        return [_EXPECTED[kind] + meant]
    if kind in ("string_too_short", "too_short") and context["min_length"] == 1:
        return ["expected text that is not empty" if kind == "string_too_short" else "expected at least one entry"]
    if kind in ("literal_error", "enum") and isinstance(detail["input"], str):
        words = context["expected"]
        return [f"expected {words}" + did_you_mean(detail["input"], words.split("'")[1::2])]
    if kind == "string_type" and isinstance(detail["input"], dict | list):
        return ["expected a string, in quotes since it has [ or {"]
    if template := _EXPECTED.get(kind):
        return [template.format_map(context)]
    # A kind that none of our tables has: the key's own description says more to people than pydantic's words.
    field = _field(model, detail["loc"])
    about = field.description if field is not None else None
    return [f"expected another value: {about}" if about else "expected another value"]


def _known(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The keys of the table at ``place``, as far as the models know them."""
    table = _table(model, place)
    return [] if table is None else [field.alias or name for name, field in table.model_fields.items()]


def _field(model: type[BaseModel], place: tuple[int | str, ...]) -> FieldInfo | None:
    """The field that the last key of ``place`` is, or is inside of."""
    for length in range(len(place), 0, -1):
        table = _table(model, place[: length - 1])
        fields = table.model_fields.items() if table is not None else ()
        if found := next((field for name, field in fields if (field.alias or name) == place[length - 1]), None):
            return found
    return None


def _table(model: type[BaseModel], place: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model of the table at ``place``."""
    inside_container = False
    for part in place:
        if inside_container:  # the position in a list, or the name in a mapping
            inside_container = False
            continue
        field = next((f for name, f in model.model_fields.items() if (f.alias or name) == part), None)
        inner = next(_models(field.annotation), None) if field is not None else None
        if field is None or inner is None:
            return None
        model, inside_container = inner, get_origin(field.annotation) in (list, dict)
    return model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in an annotation such as ``dict[str, Table]`` or ``Table | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
