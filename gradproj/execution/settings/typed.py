"""Values checked against declared types: what does not fit is told in one line that says what to type.

Pydantic checks, strictly and with the types that YAML has: ``1`` is a number and ``no`` is a text, never a switch; a
nested dictionary becomes the dataclass that a type names. Knows no torch and no Hydra.
"""

import difflib
import json
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import annotated_types
from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import is_typeddict

from gradproj.errors import UserError

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)
WORDS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text", type(None): "null"}
EXAMPLES = {bool: "true", int: "1", float: "0.5", str: "TEXT", type(None): "null"}
# the ends of the names of those of pydantic's errors that ``describe`` puts into words
SHAPED = ("_type", "_error", "_equal", "_than", "_too_short", "_number", "is_instance_of", "needs_python_object")


class Said(NamedTuple):
    """In an ``Annotated`` type: the words for it, and a value that fits, where those of ``describe`` do not do."""

    words: str
    example: str


def checked(form: Any, values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``values`` as ``form``, a TypedDict with ``STRICT`` as its configuration, declares them.

    ``prefix`` comes before a key in the message: ``method.``. Raises ``UserError`` for the first that does not fit.
    """
    try:
        return TypeAdapter(form).validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise UserError(_told(error.errors(include_url=False), form, values, prefix)) from None


def _told(errors: Sequence[Any], form: Any, values: Mapping[str, Any], prefix: str) -> str:
    """The first error in words; a key that is not known goes first, since a missing one is then often it."""
    unknown = [error for error in errors if error["type"] in ("extra_forbidden", "unexpected_keyword_argument")]
    error = (unknown or errors)[0]
    short = error["type"].startswith("missing") and isinstance(error["loc"][-1], int)  # a list of a fixed length
    missing = error["type"].startswith("missing") and not short
    path = _path(error["loc"], values, missing)
    if not unknown and not missing:  # the members of a union each have an error: the one that came furthest
        paths = [_path(other["loc"], values, False) for other in errors]
        path = max((other for other in paths if other[:1] == path[:1]), key=len)
    said = [length for length in range(len(path)) if _said(_at(form, path[:length]))]
    path = path[: said[0]] if said else path
    key, kind = prefix + ".".join(map(str, path)), _at(form, path)
    if unknown:
        return f"unknown key {key}: {suggest(str(path[-1]), _keys(_at(form, path[:-1])))}"
    if short:
        return f"{key} is too short, got {_value(values, path)!r}"
    if error["type"] == "too_long":
        return f"{key} is too long, at most {error['ctx']['max_length']} values are taken, got {error['input']!r}"
    if missing:
        return f"{key} is missing: it must be {describe(kind)}, such as {key}={example(kind)}"
    if not error["type"].endswith(SHAPED) and not _said(kind):
        return f"{key or 'a setting'} does not fit: {error['msg']}, got {error['input']!r}"
    advice = "" if isinstance(path[-1], int) else f": type {key}={example(kind)}"
    return f"{key} must be {describe(kind)}, got {_value(values, path)!r}{advice}"


def suggest(word: str, known: Iterable[str]) -> str:
    """The nearest of ``known``, or all of them where none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return f"expected {', '.join(known)}" if known else "expected none"


def describe(kind: Any) -> str:
    """A type in words: "a whole number, at least 1", "none, blocks or full", "null or a text"."""
    origin, arguments = get_origin(kind), get_args(kind)
    if said := _said(kind):
        return said.words
    if origin is Annotated:
        limits = [limit for note in arguments[1:] if (limit := _limit(note))]
        return ", ".join([describe(arguments[0]), *limits])
    if origin is Literal:
        return _either(["null" if value is None else str(value) for value in arguments])
    if origin in (Union, types.UnionType):
        members = [member for member in arguments if not (member is int and float in arguments)]
        return _either(dict.fromkeys(word for member in members if (word := describe(member))))
    if origin in (list, tuple, set, frozenset, Sequence, Iterable):
        return "a list"
    if is_dataclass(kind) or is_typeddict(kind):
        return f"a group of the keys {', '.join(_keys(kind))}"
    if origin in (dict, Mapping) or kind in (dict, Mapping):
        return "a group of keys"
    return WORDS.get(kind, "") or ("" if kind is Any else getattr(kind, "__name__", str(kind)))


def example(kind: Any) -> str:
    """A value that fits, as it is typed on the command line."""
    origin, arguments = get_origin(kind), get_args(kind)
    if said := _said(kind):
        return said.example
    if origin is Annotated:
        least = [note.ge for note in arguments[1:] if isinstance(note, annotated_types.Ge)]
        return str(least[0]) if least else example(arguments[0])
    if origin is Literal:
        return "null" if arguments[0] is None else str(arguments[0])
    if origin in (Union, types.UnionType):
        return example(arguments[0])
    if origin in (list, tuple, set, frozenset, Sequence, Iterable):
        return "[...]"
    return EXAMPLES.get(kind, "...")


def _said(kind: Any) -> Said | None:
    found = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return next((note for note in found if isinstance(note, Said)), None)


def _limit(limit: Any) -> str:
    words = {annotated_types.Ge: "at least", annotated_types.Gt: "above", annotated_types.Le: "at most"}
    words |= {annotated_types.Lt: "below", annotated_types.MultipleOf: "a multiple of"}
    if isinstance(limit, annotated_types.MinLen):
        return "not empty"
    if type(limit) not in words:
        return ""
    (value,) = (getattr(limit, field.name) for field in fields(limit))
    return f"{words[type(limit)]} {value}"


def _either(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _path(location: Sequence[Any], values: Any, missing: bool) -> list[Any]:
    """The keys on the way to an error: ``location`` without pydantic's names for the members of a union."""
    path: list[Any] = []
    for index, step in enumerate(location):
        last = missing and index == len(location) - 1
        if isinstance(values, Mapping) and (step in values or last):
            path, values = [*path, step], values.get(step)
        elif isinstance(values, list) and isinstance(step, int) and step < len(values):
            path, values = [*path, step], values[step]
    return path


def _value(values: Any, path: Sequence[Any]) -> Any:
    for step in path:
        values = values[step]
    return values


def _keys(kind: Any) -> list[str]:
    kind = next((member for member in _members(kind) if is_dataclass(member) or is_typeddict(member)), None)
    return list(get_type_hints(kind)) if kind else []


def _members(kind: Any) -> list[Any]:
    """The types of a union, without their limits; a single type alone."""
    if get_origin(kind) is Annotated:
        return _members(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [member for argument in get_args(kind) for member in _members(argument)]
    return [kind]


def _at(kind: Any, path: Sequence[Any]) -> Any:
    """The type that stands at ``path`` within ``kind``."""
    if get_origin(kind) in (NotRequired, Required):
        return _at(get_args(kind)[0], path)
    if not path:
        return kind
    for member in _members(kind):
        arguments = get_args(member)
        if (is_dataclass(member) or is_typeddict(member)) and path[0] in _keys(member):
            return _at(get_type_hints(member, include_extras=True)[path[0]], path[1:])
        if arguments and isinstance(path[0], int):
            return _at(arguments[min(path[0], len(arguments) - 1)], path[1:])
        if len(arguments) == 2:
            return _at(arguments[1], path[1:])
    return Any
