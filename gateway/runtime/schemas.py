"""The JSON Schemas of the files that people write or read, made from the models that read them.

Editors use them through the ``# yaml-language-server:`` line of the samples. ``python -m gateway.runtime.schemas DIR``
writes all of them, with the tables of all installed adapters.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.api.ports import AdapterPlugin
from gateway.runtime import plugins, vocabularies
from gateway.runtime.device_names import DevicesTable
from gateway.runtime.policy_tables import policy_model
from gateway.runtime.settings import ConfigTable

CONFIG_SCHEMA = "gateway.schema.json"
POLICY_SCHEMA = "policy.schema.json"
DEVICES_SCHEMA = "devices.schema.json"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def config_schema(adapters: Mapping[str, AdapterPlugin]) -> dict[str, Any]:
    """The schema of a gateway config; adapters that aren't known here may have any table."""
    schema = {"$schema": _DIALECT} | ConfigTable.model_json_schema()
    table = schema["properties"]["adapters"]
    table["additionalProperties"] = {"type": "object"}
    for scheme, plugin in sorted(adapters.items()):
        # Adapters are written apart from each other, so their definitions may share names: each gets a shelf.
        own = plugin.config_model.model_json_schema(ref_template=f"#/$defs/{scheme}/{{model}}")
        schema["$defs"][scheme] = own.pop("$defs", {})
        table.setdefault("properties", {})[scheme] = own
    return schema


def policy_schema() -> dict[str, Any]:
    """The schema of a policy, with the words of the built-in adapters."""
    return {"$schema": _DIALECT} | policy_model(vocabularies.built_in()).model_json_schema()


def devices_schema() -> dict[str, Any]:
    """The schema of the names in the state folder."""
    return {"$schema": _DIALECT} | DevicesTable.model_json_schema()


def files(adapters: Mapping[str, AdapterPlugin]) -> dict[str, str]:
    """The texts of the schema files by name."""
    schemas = {
        CONFIG_SCHEMA: config_schema(adapters),
        POLICY_SCHEMA: policy_schema(),
        DEVICES_SCHEMA: devices_schema(),
    }
    return {name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in schemas.items()}


def main(folder: str) -> None:
    candidates = plugins.installed()
    for name, text in files({scheme: plugins.load(scheme, candidates) for scheme in candidates}).items():
        (Path(folder) / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
