"""``gradproj.improve``: what ``gradproj run`` does, as one line of Python. The same path makes the same pictures."""

import json
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradproj.errors import Incomplete, UserError
from gradproj.execution import weights, worker
from gradproj.execution.improved import Improvements
from gradproj.execution.kept import Callback, CallbackError, Kept
from gradproj.execution.settings import keys
from gradproj.execution.settings.compose import compose_run
from gradproj.execution.settings.overrides import data_folder, quoted
from gradproj.runs.environment import COMMAND
from gradproj.runs.record import COLUMNS
from gradproj.types import Method, Model, Reward

OWN = "a.part.of.your.own"  # stands in for its ``_target_`` until the settings are checked


def improve(
    prompts: str | Path | Iterable[str],
    model: str | Model = "shapes",
    reward: str | Mapping[str, float] | Reward | None = None,
    method: str | Method = "ours",
    *,
    steps: int | None = None,
    seeds: int | Sequence[int] = 1,
    rewards: Sequence[Any] | None = None,
    device: str | None = None,
    callback: Callback | None = None,
    results: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> Improvements:
    """Improve a picture of each prompt and seed, and answer them before and after, prompt by prompt.

    ``prompts`` is a prompt, several, or the ``Path`` of a text file with one per line. ``model``, ``reward`` and
    ``method`` are the names of YAML files (``gradproj list``) or objects of your own, as ``gradproj.types`` declares
    them; a reward may also be a mix, {"shapes_matcher": 5, "shapes_aesthetic": 1}. None is the default of the model:
    its target, its number of ``steps``. ``seeds`` is how many pictures of each prompt (seeds 0, 1, ...), or which
    seeds. The noise depends on the prompt's place among ``prompts`` and on the seed.

    ``rewards`` are all that score the pictures, the climbed one among them: names, of sets too, and objects (a reward
    of your own is called by its class's name). None: the target's set, or a climbed object alone. ``device`` is auto,
    cpu, cuda or cuda:1. ``overrides`` are the other settings as ``gradproj run`` takes them: ["batch=4", "keep=best",
    "method.block=32", "model.source.repo=/folder"]. A model of your own has the other settings of ``model=shapes``.

    ``callback(images, step)`` is called at every step of every batch, ``images`` are its b (prompt's place, seed) and
    ``step`` a ``gradproj.optimize.Step`` of (b, ...) tensors; what it raises ends the work.

    Nothing is written, unless ``results`` names a folder: then it gets the records and pictures that ``gradproj run``
    writes, and what is recorded there already is read instead of made. A record says how to make its picture again,
    which objects do not: with ``results`` all parts are names.

    ``UserError`` says in a line what does not fit, before the work begins. A picture that fails is left out, with a
    warning and in ``failed``; ``Incomplete`` where all do.
    """
    texts = keys.read_prompts(_texts(prompts), data_folder("prompts"))
    own = {key: part for key, part in (("model", model), ("method", method)) if not isinstance(part, str)}
    _expect_kinds(own)
    own_rewards, words = _rewards(reward, rewards)
    words = [f"{key}={part}" for key, part in (("model", model), ("method", method)) if key not in own] + words
    words += [f"seeds={_listed(seeds)}"]
    words += [f"{key}={value}" for key, value in (("steps", steps), ("device", device)) if value is not None]
    words += [f"results={quoted(str(results))}"] if results is not None else []
    words += _others(overrides)
    settings, choices = compose_run(words)
    settings |= {**own, "prompts": texts, "rewards": settings["rewards"] | own_rewards}
    if results is not None and (own or own_rewards):
        raise UserError(
            f"results={results}: a record says how to make its picture again, and an object does not: give "
            f"{', '.join([*own, *own_rewards])} a YAML file (docs/rewards.md shows one), or leave out results"
        )
    if results is None and settings["tracker"]:
        raise UserError("a tracker follows records, and without results there are none: give results='results', too")
    weights.settle([settings], words)
    kept = Kept(texts, settings, callback)
    try:
        if results is None:
            worker.make_images(settings, texts, kept, kept.score)
            answer = kept.answer()
        else:
            with _typed([*words, f"prompts=[{','.join(map(quoted, texts))}]"]):
                outcome = worker.complete(settings, texts, choices["model"], choices["method"], kept.beside)
            answer = kept.answer(outcome.run)
    except CallbackError as error:
        raise (error.__cause__ or error) from None
    return _told(answer)


def _texts(prompts: Any) -> Any:
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


def _others(overrides: Any) -> list[str]:
    """The overrides, none of which is for a command alone."""
    others = [overrides] if isinstance(overrides, str) else list(overrides)
    for word in others:
        key = str(word).lstrip("+~").partition("=")[0]
        if not isinstance(word, str) or word.startswith("-") or key in ("prompts", "results", "sweep"):
            raise UserError(
                f"overrides must be settings of one run, such as ['batch=4'], got {word!r}: prompts and results are "
                "arguments of improve, and options and sweeps are for the command"
            )
    return others


def _listed(seeds: Any) -> str:
    """A number, or a list of them, as the command line takes it; numpy's, too."""
    several = isinstance(seeds, Iterable) and not isinstance(seeds, str)
    return f"[{','.join(map(str, seeds))}]" if several else str(seeds)


def _expect_kinds(own: Mapping[str, Any]) -> None:
    """``UserError`` for what is neither a name nor a part."""
    for key, kind in {"model": Model, "method": Method}.items():
        if key in own and (isinstance(own[key], type) or not isinstance(own[key], kind)):
            raise UserError(
                f"{key} must be the name of a YAML file (gradproj list) or an object as gradproj.types.{kind.__name__} "
                f"declares it, got {own[key]!r}"
            )


def _rewards(reward: Any, rewards: Any) -> tuple[dict[str, Any], list[str]]:
    """The objects among them by name; and what the command would be given for the others and for the target."""
    scored = [rewards] if isinstance(rewards, str) else list(rewards or [])
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


@contextmanager
def _typed(words: Sequence[str]) -> Iterator[None]:
    """env.json names the command that would have made the same records."""
    before = os.environ.get(COMMAND)
    os.environ[COMMAND] = json.dumps(["gradproj-run", *words])
    try:
        yield
    finally:
        os.environ.pop(COMMAND)
        os.environ.update({COMMAND: before} if before is not None else {})


def _told(answer: Improvements) -> Improvements:
    """The answer, with a word about what failed."""
    reasons = "; ".join(f"{image}: {reason}" for image, reason in answer.failed.items())
    if answer.failed and not answer:
        raise Incomplete(f"no picture came to a usable end: {reasons}")
    if answer.failed:
        warnings.warn(f"{len(answer.failed)} pictures failed and are left out: {reasons}", stacklevel=3)
    return answer
