"""What ``gradproj.improve`` is given, as the words that ``gradproj run`` takes; and the parts that are objects."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gradproj.errors import UserError
from gradproj.runs.record import COLUMNS
from gradproj.types import Method, Model

OWN = "a.part.of.your.own"  # stands in for its ``_target_`` until the settings are checked
BUILT_IN = "shapes_aesthetic"  # a reward for which nothing is fetched
APART = ("prompts", "results", "sweep", "hydra")  # what overrides are not for


def texts(prompts: Any) -> Any:
    """A list of texts, or the name of a file."""
    if isinstance(prompts, Path):
        return str(prompts)
    texts = [prompts] if isinstance(prompts, str) else list(prompts) if isinstance(prompts, Iterable) else [prompts]
    wrong = [text for text in texts if not isinstance(text, str)]
    if wrong:
        raise UserError(
            f"prompts must be a text, a list of texts or the Path of a file, got {wrong[0]!r}: type ['a red ring']"
        )
    return texts


def others(overrides: Any) -> list[str]:
    """The overrides, none of which is for a command alone."""
    words = _several("overrides", overrides)
    for word in words:
        key = re.split(r"[=./]", str(word).lstrip("+~"), maxsplit=1)[0]
        if not isinstance(word, str) or word.startswith("-") or key in APART:
            raise UserError(
                f"overrides must be settings of one run, such as ['batch=4'], got {word!r}: prompts and results are "
                "arguments of improve, and options, sweeps and launchers are for the command"
            )
    return words


def listed(seeds: Any) -> str:
    """A number, or a list of them, as the command line takes it; numpy's, too."""
    several = isinstance(seeds, Iterable) and not isinstance(seeds, str)
    return f"[{','.join(map(str, seeds))}]" if several else str(seeds)


def expect_kinds(own: Mapping[str, Any]) -> None:
    """``UserError`` for what is neither a name nor a part."""
    for key, kind in {"model": Model, "method": Method}.items():
        if key in own and (isinstance(own[key], type) or not isinstance(own[key], kind)):
            raise UserError(
                f"{key} must be the name of a YAML file (gradproj list) or an object as gradproj.types.{kind.__name__} "
                f"declares it, got {own[key]!r}"
            )


def rewards_of(reward: Any, rewards: Any) -> tuple[dict[str, Any], list[str]]:
    """The objects among them by name; and what the command would be given for the others and for the target."""
    scored = _several("rewards", rewards)
    if not isinstance(reward, str | Mapping | None):
        scored += [] if any(one is reward for one in scored) else [reward]
        reward = _name(reward)
    own: dict[str, Any] = {}
    for part in (part for part in scored if not isinstance(part, str)):
        if own.setdefault(_name(part), part) is not part:
            raise UserError(f"two rewards are called {_name(part)}, as their class is: give one a class of its own")
    words = [f"rewards=[{','.join(one for one in scored if isinstance(one, str))}]"] if scored else []
    words += [f"+rewards.{name}._target_={OWN}" for name in own]
    if isinstance(reward, Mapping):
        reward = f"{{{','.join(f'{name}:{weight}' for name, weight in reward.items())}}}"
    return own, [*words, *([] if reward is None else [f"reward={reward}"])]


def fetchable(words: Sequence[str], named: Sequence[str]) -> list[str]:
    """``words`` for ``gradproj fetch``, which knows no objects: of rewards the ``named``, or a built-in one."""
    if not any(OWN in word for word in words):
        return list(words)
    others = [word for word in words if OWN not in word and not word.startswith(("reward=", "rewards="))]
    scored = list(named) or [BUILT_IN]
    return [*others, f"rewards=[{','.join(scored)}]", f"reward={scored[0]}"]


def _several(key: str, given: Any) -> list[Any]:
    """A list of what is ``given``; a text is one, None is nothing."""
    if not isinstance(given, Iterable | None):
        raise UserError(f"{key} must be a list, got {given!r}: type {key}=[...]")
    return [given] if isinstance(given, str) else list(given or ())


def _name(reward: Any) -> str:
    """What a reward of one's own is called in tables: as its class."""
    name = type(reward).__name__
    if isinstance(reward, type) or not hasattr(reward, "score"):
        raise UserError(
            "a reward must be the name of a YAML file (gradproj list), a mix or an object as gradproj.types.Reward "
            f"declares it, with a method score, got {reward!r}"
        )
    if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) or name in COLUMNS:
        raise UserError(f"a reward is called as its class, and {name!r} cannot be a column: rename the class")
    return name
