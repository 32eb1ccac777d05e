"""Turns what pydantic and the adapters find wrong into one ConfigError each, at the line of the value.

Values never appear in a message: a key written where its file's name belongs must not end in a log.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.api.errors import ConfigError, CredentialError
from gateway.runtime.source import InvalidConfigError, Source
from gateway.runtime.strict_yaml import Key

_Model = TypeVar("_Model", bound=BaseModel)

_EXPECTED: Mapping[str, str] = {
    "missing": "expected a value: this key is required",
    "extra_forbidden": "expected no such key here",
    "string_type": "expected a string (in quotes where it looks like a number)",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
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
    "string_pattern_mismatch": "expected text of the form {pattern}",
    "too_short": "expected at least {min_length} entries",
    "too_long": "expected at most {max_length} entries",
}


def validated(model: type[_Model], values: object, source: Source, prefix: Key = ()) -> _Model:
    """The values as ``model`` reads them; InvalidConfigError with a line for each place that pydantic complains about.

    ``prefix``: where in ``source`` the values are.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InvalidConfigError(_mistakes(error, model, source, prefix)) from None


def _mistakes(error: ValidationError, model: type[BaseModel], source: Source, prefix: Key) -> list[ConfigError]:
    found: dict[Key, ConfigError] = {}
    for detail in error.errors(include_url=False, include_input=False):
        key = _key(source, prefix, detail)
        if key not in found:  # a union complains once for each of its members
            text = _text(detail)
            if detail["type"] == "extra_forbidden":
                text += _hint(str(detail["loc"][-1]), _known(model, detail["loc"][:-1]))
            found[key] = source.mistake(key, text)
    return sorted(found.values(), key=lambda mistake: mistake.line)


def from_adapter(error: ConfigError | CredentialError, source: Source, prefix: Key) -> ConfigError:
    """What an adapter found wrong in its table at ``prefix``, told at the line of the key."""
    if isinstance(error, ConfigError):
        return relocated(error, source, prefix)
    return _from_credential(error, source, prefix)


def relocated(error: ConfigError, source: Source, prefix: Key) -> ConfigError:
    """The same mistake with its key counted from the top of the file; untouched where it has a place already."""
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


def _text(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    if detail["type"] in ("value_error", "assertion_error"):
        text = str(context.get("error", detail["msg"]))
        return text if text.startswith("expected") else f"expected {text}"
    if template := _EXPECTED.get(detail["type"]):
        return template.format_map(context)
    text = detail["msg"]
    return "expected " + text[0].lower() + text[1:].removeprefix("nput should be ").strip()


def _hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f" (did you mean {close[0]}?)"
    return f" (known: {', '.join(sorted(known))})" if known else ""


def _known(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The keys of the table at ``place``, as far as the models tell."""
    inside_container = False
    for part in place:
        if inside_container:  # the position in a list, or the name in a mapping
            inside_container = False
            continue
        field = next((f for name, f in model.model_fields.items() if (f.alias or name) == part), None)
        inner = next(_models(field.annotation), None) if field is not None else None
        if field is None or inner is None:
            return []
        model, inside_container = inner, get_origin(field.annotation) in (list, dict)
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in an annotation such as ``dict[str, Table]`` or ``Table | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
