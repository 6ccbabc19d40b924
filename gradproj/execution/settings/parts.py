"""Settings to objects: the parts that a run is made of, from plain dictionaries with ``_target_``.

Every setting is checked against the annotations of the function or class that ``_target_`` names, of all parts before
the first is made. Where a signature has no annotations, the names alone are checked.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NotRequired, get_type_hints

from hydra._internal.utils import _locate  # get_object logs what it then raises
from typing_extensions import TypedDict

from gradproj.errors import UserError, all_of
from gradproj.execution import devices
from gradproj.execution.protocol import keeping_dtype
from gradproj.execution.settings.typed import STRICT, checked
from gradproj.pretrained import asking
from gradproj.runs.naming import target

TARGET, PARTIAL = "_target_", "_partial_"
FAILED = (ValueError, TypeError, RuntimeError, OSError, LookupError, AttributeError, ImportError)  # in a constructor


def parts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """{"model": ..., "method": ..., "rewards": {name: ...}} of the settings, or of a run's stored config.

    A run's own config.yaml does, once ``compose_stored`` has added where the weights are. With ``held_out=cpu`` the
    rewards that are not climbed are on the processor.
    """
    nodes = {"model": settings["model"], "method": settings["method"]}
    nodes |= {f"rewards.{name}": node for name, node in settings["rewards"].items()}
    prepared = {key: _prepare(node, key) for key, node in nodes.items()}
    aside = settings["rewards"].keys() - target(settings) if settings.get("held_out") == "cpu" else ()
    places = {f"rewards.{name}": "cpu" for name in aside}
    model, method, *rewards = all_of(
        *(partial(_build_on, places.get(key, settings.get("device")), part) for key, part in prepared.items())
    )
    return {"model": model, "method": method, "rewards": dict(zip(settings["rewards"], rewards, strict=True))}


def check_parts(settings: Mapping[str, Any]) -> None:
    """``UserError`` for the first setting of a part that is not as its function or class declares; nothing is made."""
    for key in ("model", "method"):
        _prepare(settings[key], key)
    for name, node in settings["rewards"].items():
        _prepare(node, f"rewards.{name}")


def make(node: Mapping[str, Any], key: str, device: str | None = None) -> Any:
    """The part of the settings ``node``, which stand under ``key`` (``rewards.clip``): checked, then made.

    ``device`` is the setting of this name.
    """
    return _build_on(device, _prepare(node, key))


def _build_on(device: str | None, prepared: Any) -> Any:
    with devices.chosen(device):
        return _build(prepared)


@dataclass(frozen=True)
class _Part:
    """A call that is checked but not made yet. ``key`` is where its settings stand."""

    key: str
    target: Callable[..., Any]
    arguments: Mapping[str, Any]
    unfinished: bool  # ``_partial_: true``: whoever uses it gives the rest


def _prepare(value: Any, key: str) -> Any:
    """``value`` with every node that has a ``_target_`` as a ``_Part``."""
    if isinstance(value, list):
        return [_prepare(item, f"{key}.{index}") for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if TARGET not in value:
        return {name: _prepare(item, f"{key}.{name}") for name, item in value.items()}
    target, unfinished = find(value[TARGET], key), value.get(PARTIAL, False)
    if not isinstance(unfinished, bool):
        raise UserError(f"{key}.{PARTIAL} must be true or false, got {unfinished!r}: type {key}.{PARTIAL}=true")
    given = {name: item for name, item in value.items() if name not in (TARGET, PARTIAL)}
    inner = {name: _prepare(item, f"{key}.{name}") for name, item in given.items()}
    parts = {name: item for name, item in inner.items() if _holds_part(item)}
    arguments = checked(_form(target, parts, unfinished), given, f"{key}.")
    return _Part(key, target, arguments | parts, unfinished)


def _holds_part(value: Any) -> bool:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, _Part) or any(map(_holds_part, children))


def _build(value: Any) -> Any:
    if isinstance(value, list):
        return [_build(item) for item in value]
    if isinstance(value, dict):  # what all of them lack is told in one go
        return dict(zip(value, all_of(*(partial(_build, item) for item in value.values())), strict=True))
    if not isinstance(value, _Part):
        return value
    arguments = {name: _build(item) for name, item in value.arguments.items()}
    if value.unfinished:
        return partial(value.target, **arguments)
    name = getattr(value.target, "__qualname__", value.target)
    try:
        with asking.part(value.key, arguments.get("source")), keeping_dtype(f"{value.key}: {name}"):
            return value.target(**arguments)
    except FAILED as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{value.key}: {name} cannot be made: {type(error).__name__}: {reason}") from error


def find(path: Any, key: str) -> Callable[..., Any]:
    """What ``_target_`` names."""
    try:
        target = _locate(path)
    except (ImportError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{key}.{TARGET}={path}: {reason} (a module of your own is found through PYTHONPATH=FOLDER)"
        ) from error
    if not callable(target):
        raise UserError(f"{key}.{TARGET}={path} is {target!r}: expected a function or class to call")
    return target


def _form(target: Callable[..., Any], parts: Mapping[str, Any], unfinished: bool) -> Any:
    """The settings that ``target`` takes as a TypedDict; those in ``parts`` are checked by themselves."""
    declared, closed = _parameters(target)
    if unfinished and declared:
        del declared[next(iter(declared))]  # whoever calls it gives the first
    kinds: dict[str, Any] = {}
    for name, (kind, needed) in declared.items():
        kind = Any if name in parts else kind
        kinds[name] = kind if needed and not unfinished else NotRequired[kind]
    form: Any = TypedDict("Settings", kinds)  # type: ignore[operator]
    form.__pydantic_config__ = STRICT if closed else {**STRICT, "extra": "allow"}
    return form


def _parameters(target: Callable[..., Any]) -> tuple[dict[str, tuple[Any, bool]], bool]:
    """Name -> (annotation, whether it must be given); and whether these are all that ``target`` takes.

    What a class's constructor takes as ``**rest`` goes to the next class's constructor.
    """
    found: dict[str, tuple[Any, bool]] = {}
    for function in _callables(target):
        try:
            signature, kinds = inspect.signature(function), _annotations(function)
        except ValueError:  # some built-in functions do not say what they take
            return found, False
        named = [
            parameter
            for parameter in signature.parameters.values()
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        ]
        for parameter in named if function is target else named[1:]:  # a constructor's first is the new object
            found.setdefault(parameter.name, (kinds.get(parameter.name, Any), parameter.default is parameter.empty))
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
            return found, True
    return found, False


def _callables(target: Callable[..., Any]) -> list[Callable[..., Any]]:
    """A function by itself; of a class the constructors, from its own to its oldest ancestor's."""
    own = (
        [vars(base)["__init__"] for base in inspect.getmro(target) if "__init__" in vars(base)]
        if inspect.isclass(target)
        else []
    )
    return own[:-1] or [target]  # the last is object's, which takes nothing


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):  # an annotation that means nothing at run time
        return {}
