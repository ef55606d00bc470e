"""From plain JSON values to frozen dataclasses of ints, bools, strings and tuples of them, strictly, naming the path of what is wrong."""

from __future__ import annotations

import dataclasses
from typing import Any


def mapping(value: Any, where: str) -> dict[str, Any]:
    """The value as an object; raises ValueError naming `where` when it is none."""
    if not isinstance(value, dict):
        raise ValueError(f"{where}: must be an object, not {type(value).__name__}")
    return value


def parse_fields(target: type, values: dict[str, Any], prefix: str, **given: Any) -> Any:
    """Build `target` from `values` and the fields already `given`; raises ValueError with the path of the first wrong field."""
    fields = {f.name: f for f in dataclasses.fields(target) if f.name not in given}
    for name in values:
        if name not in fields:
            raise ValueError(f"{prefix}{name}: no such field; known: {', '.join(f.name for f in dataclasses.fields(target))}")
    parsed = dict(given)
    for name, field in fields.items():
        if name in values:
            parsed[name] = _parse_value(values[name], str(field.type), f"{prefix}{name}")
        elif field.default is dataclasses.MISSING:
            raise ValueError(f"{prefix}{name}: missing")
    return target(**parsed)


def _parse_value(value: Any, annotation: str, where: str) -> Any:
    if annotation.startswith("tuple["):
        if not isinstance(value, list):
            raise ValueError(f"{where} = {value!r}: must be a list")
        element = annotation.removeprefix("tuple[").split(",")[0]
        return tuple(_parse_value(item, element, f"{where}[{i}]") for i, item in enumerate(value))
    expected = {"int": int, "bool": bool}.get(annotation, str)
    if type(value) is not expected:
        raise ValueError(f"{where} = {value!r}: must be of type {expected.__name__}")
    return value
