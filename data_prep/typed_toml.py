"""A TOML file that a person wrote, read into frozen dataclasses: strictly, and with one line that says what is wrong with it."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


def read_toml(path: Path, what: str, example: str, fault: type[ValueError]) -> dict[str, Any]:
    """The plain values of a file. Raises `fault` when it is missing or no TOML, saying `what` the file is and naming an `example`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise fault(f"cannot read the {what} {path}: {error.strerror}; {example} is one to start from") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise fault(f"{path} is not valid TOML: {error}") from error


def typed(raw: Mapping[str, Any], target: type[T], where: str, fault: type[ValueError]) -> T:
    """A `target` of these values. Raises `fault`, naming `where` and key, for an unknown or missing key, a wrong type or a bad value."""
    _reject_unknown(raw, target, where, "", fault)
    try:
        return TypeAdapter(target).validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        raise fault(f"{where}: {_first_of(error)}") from error


def _first_of(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"{key} is missing: add it"
    if first["type"] == "value_error":
        # A dataclass that knows its place in the file names it itself.
        return reason if re.match(rf"{re.escape(key)}\b", reason) or not key else f"{key}: {reason}"
    return f"{key} = {first['input']!r}: {reason}" + ("; write it in quotes" if first["type"] == "string_type" else "")


def _reject_unknown(raw: Mapping[str, Any], target: type, where: str, prefix: str, fault: type[ValueError]) -> None:
    hints = {field.name: get_type_hints(target)[field.name] for field in dataclasses.fields(target)}
    for key, value in raw.items():
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known here: {', '.join(hints)}"
            raise fault(f"{where}: unknown key {prefix}{key}; {hint}")
        for name, section, kind in _sections(f"{prefix}{key}", value, hints[key]):
            if not isinstance(section, Mapping):
                raise fault(f"{where}: {name} = {section!r}: must be a section, [{name}]")
            _reject_unknown(section, kind, where, f"{name}.", fault)


def _sections(name: str, value: Any, hint: Any) -> Iterator[tuple[str, Any, type]]:
    """What stands for a dataclass under a key, with its name and type: the value itself, or those of a mapping."""
    inner = [kind for kind in get_args(hint) if isinstance(kind, type) and dataclasses.is_dataclass(kind)]
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        yield name, value, hint
    elif inner and isinstance(value, Mapping):
        yield from ((f"{name}.{key}", section, inner[0]) for key, section in value.items())
