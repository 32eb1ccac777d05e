"""The sample config, policy and schemas that we ship, and those of version 0.1.0, hold together and with the code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from gateway.runtime import strict_yaml

CONFIG = Path(__file__).parents[2] / "config"
BEFORE = Path(__file__).parents[1] / "data" / "upgrade-0.1.0" / "samples"


@pytest.fixture
def sample(request, tmp_path, broker_certificate):
    """The samples in a folder of their own, with credentials beside them as they say."""
    for name in ("gateway.yaml", "policy.yaml"):
        shutil.copy(getattr(request, "param", CONFIG) / name, tmp_path)
    keys = tmp_path / "keys"
    keys.mkdir()
    for name, text in (("coap-keys", "phone:" + "5a" * 16 + "\n"), ("mqtt-password", "example\n")):
        (keys / name).touch(mode=0o600)
        (keys / name).write_text(text)
    for place in (tmp_path, keys):  # where ours and those of 0.1.0 have it
        (place / "ca.pem").write_bytes(broker_certificate[0])
    return tmp_path


@pytest.mark.parametrize("sample", [CONFIG, BEFORE], indirect=True, ids=["ours", "0.1.0"])
def test_the_samples_pass_the_check(python, sample):
    answer = python("-m", "gateway.cli", "check-config", "-c", str(sample / "gateway.yaml"))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "adapters: zigbee, coap, mqtt; 6 rules" in answer.stdout


def test_keys_that_others_can_read_are_refused_at_their_lines(python, sample):
    texts = (CONFIG / "gateway.yaml").read_text().splitlines()
    names = ("coap-keys", "mqtt-password")
    for name in names:
        (sample / "keys" / name).chmod(0o644)
    answer = python("-m", "gateway.cli", "check-config", "-c", str(sample / "gateway.yaml"))
    assert answer.returncode == 78
    lines = answer.stderr.splitlines()
    places = [next(n for n, text in enumerate(texts, 1) if text.endswith(f"keys/{name}")) for name in names]
    assert len(lines) == len(places)
    for line, place in zip(lines, places, strict=True):
        assert line.startswith(f"{sample}/gateway.yaml:{place}: adapters.")


def test_the_schemas_are_those_of_the_code(python, tmp_path):
    done = python("-m", "gateway.runtime.schemas", str(tmp_path))
    assert done.returncode == 0, done.stderr
    for made in tmp_path.iterdir():
        shipped = CONFIG / made.name
        assert made.read_text() == shipped.read_text(), f"stale: run python -m gateway.runtime.schemas {CONFIG.name}"


@pytest.mark.parametrize("folder", [CONFIG, BEFORE], ids=["ours", "0.1.0"])
@pytest.mark.parametrize("name", ["gateway", "policy"])
def test_the_samples_fit_their_schemas(name, folder):
    text = (folder / f"{name}.yaml").read_text()
    assert text.startswith(f"# yaml-language-server: $schema={name}.schema.json\n")
    schema = json.loads((CONFIG / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(strict_yaml.parse(text, name).data, schema)


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("gateway", ["gateway", "nane"], "x"),
        ("gateway", ["adapters", "coap", "listne"], "x"),
        ("gateway", ["limits", "idle"], 60),
        ("policy", ["rules", 0, "effect"], "allow"),
        ("policy", ["rules", 0, "condition", "bytes"], "8KiB"),
        ("policy", ["layer"], 0),
    ],
)
def test_the_schemas_refuse_mistakes(name, path, value):
    data = strict_yaml.parse((CONFIG / f"{name}.yaml").read_text(), name).data
    table = data
    for part in path[:-1]:
        table = table[part]
    table[path[-1]] = value
    schema = json.loads((CONFIG / f"{name}.schema.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, schema)
