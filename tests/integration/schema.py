"""The subset of JSON Schema that tests/schema/wipyctl.json uses. Python standard library only."""
import json

from harness import ROOT

SCHEMA = json.loads((ROOT / "tests/schema/wipyctl.json").read_text())
KINDS = {"string": str, "boolean": bool, "null": type(None), "object": dict, "array": list}
WORDS = {"type", "enum", "minimum", "maximum", "properties", "required", "additionalProperties", "items", "anyOf", "$ref"}


def is_kind(value, kind):
    if kind in ("integer", "number"):
        return isinstance(value, (int, float) if kind == "number" else int) and not isinstance(value, bool)
    return isinstance(value, KINDS[kind])


def faults_of_object(value, schema, where):
    properties = schema.get("properties", {})
    for key in schema.get("required", ()):
        if key not in value:
            yield f"{where}: no {key}"
    for key, member in value.items():
        if key in properties:
            yield from faults(member, properties[key], f"{where}.{key}")
        elif schema.get("additionalProperties") is False:
            yield f"{where}: {key} isn't in the schema"


def faults(value, schema, where="$"):
    """What is wrong with the value, a sentence each."""
    unknown = set(schema) - WORDS
    assert not unknown, f"the schema has words that nobody checks: {unknown}"
    if "$ref" in schema:
        yield from faults(value, SCHEMA["definitions"][schema["$ref"]], where)
        return
    if "anyOf" in schema:
        tried = [list(faults(value, one, where)) for one in schema["anyOf"]]
        if all(tried):
            yield f"{where}: none of {len(tried)}: " + "; ".join(one[0] for one in tried)
        return
    kinds = schema.get("type", [])
    if kinds and not any(is_kind(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        yield f"{where}: {value!r} is no {kinds}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r} is none of {schema['enum']}"
    if "minimum" in schema and value is not None and value < schema["minimum"]:
        yield f"{where}: {value} is below {schema['minimum']}"
    if "maximum" in schema and value is not None and value > schema["maximum"]:
        yield f"{where}: {value} is above {schema['maximum']}"
    if isinstance(value, dict):
        yield from faults_of_object(value, schema, where)
    if isinstance(value, list) and "items" in schema:
        for i, member in enumerate(value):
            yield from faults(member, schema["items"], f"{where}[{i}]")


def check(verb, value):
    found = list(faults(value, SCHEMA["verbs"][verb]))
    assert not found, f"wipyctl {verb} --json: {found[:5]}\n{json.dumps(value)[:2000]}"


def check_error(value):
    found = list(faults(value, {"$ref": "error"}))
    assert not found, f"an error: {found}\n{value}"
