"""``gradproj.improve``: what ``gradproj run`` does, as one line of Python. The same path makes the same pictures."""

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradproj.errors import Incomplete, UserError
from gradproj.execution import asked, weights, worker
from gradproj.execution.improved import Improvements
from gradproj.execution.kept import Callback, CallbackError, Kept
from gradproj.execution.settings.compose import compose_run
from gradproj.execution.settings.overrides import data_folder, quoted
from gradproj.execution.settings.prompts import read_prompts
from gradproj.runs.environment import COMMAND
from gradproj.types import Method, Model, Reward


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
    texts = read_prompts(asked.texts(prompts), data_folder("prompts"))
    own = {key: part for key, part in (("model", model), ("method", method)) if not isinstance(part, str)}
    asked.expect_kinds(own)
    if callback is not None and not callable(callback):
        raise UserError(f"callback must be a function that takes (images, step), got {callback!r}")
    own_rewards, words = asked.rewards_of(reward, rewards)
    words = [f"{key}={part}" for key, part in (("model", model), ("method", method)) if key not in own] + words
    words += [f"seeds={asked.listed(seeds)}"]
    words += [f"{key}={value}" for key, value in (("steps", steps), ("device", device)) if value is not None]
    words += [f"results={quoted(str(results))}"] if results is not None else []
    words += asked.others(overrides)
    settings, choices = compose_run(words)
    settings |= {**own, "prompts": texts, "rewards": settings["rewards"] | own_rewards}
    if results is not None and (own or own_rewards):
        raise UserError(
            f"results={results}: a record says how to make its picture again, and an object does not: give "
            f"{', '.join([*own, *own_rewards])} a YAML file (docs/rewards.md shows one), or leave out results"
        )
    if results is None and settings["tracker"]:
        raise UserError("a tracker follows records, and without results there are none: give results='results', too")
    named = [name for name in settings["rewards"] if name not in own_rewards]
    weights.settle([settings], asked.fetchable(words, named))
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
