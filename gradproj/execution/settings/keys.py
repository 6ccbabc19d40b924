"""What the person typed: resolved, and checked against declared types. No torch, so it answers at once."""

import math
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field
from typing_extensions import TypedDict

from gradproj.errors import UserError
from gradproj.execution.settings.typed import STRICT, Said, checked, suggest
from gradproj.runs.naming import Share, target

Part = dict[str, Any]  # a part's settings: ``_target_`` and what it takes, which ``parts`` checks
Count = Annotated[int, Ge(1)]
MIX = "'{shapes_matcher: 5, shapes_aesthetic: 1}'"
DEVICE = "^(auto|cpu|cuda(:[0-9]{1,3})?)$"
MOST = {"seeds": 10**12, "threads": 1024}  # what can be counted, and what a system gives


class Settings(TypedDict):
    """The keys of a run, resolved: each with its type and its least value, declared here alone."""

    model: Part
    method: Part
    protocol: str
    reward: Annotated[str | dict[str, int | float], Said(f"a name or a mix such as {MIX}", MIX)]
    rewards: dict[str, Part]
    prompts: Annotated[str | list[str], Said("a named set, a text file or a list of texts", "'[\"a red ring\"]'")]
    seeds: Annotated[Count | list[Annotated[int, Ge(0)]], Said("a whole number, at least 1, or a list of seeds", "1")]
    steps: Count
    batch: Count | Literal["auto"]
    shard: Annotated[int, Ge(0)]
    shards: Count
    keep: Literal["last", "best"]
    held_out: Literal["auto", "during", "cpu", "after"]
    memory: Literal["auto", "given"]
    save: Annotated[list[Literal["picture", "latent"]], Said("[picture] or [picture,latent]", "[picture,latent]")]
    score_every: Count | Literal["geometric"]
    max_skips: Count
    max_retries: Annotated[int, Ge(0)]
    threads: Annotated[int, Ge(1)] | None
    device: Annotated[str | None, Field(pattern=DEVICE), Said("auto, cpu, cuda or a GPU such as cuda:1", "auto")]
    results: str
    tracker: Part | None
    profile: bool
    compile: bool
    untuned_lr: NotRequired[Any]  # this and the next two: YAML files refer to them, and check them where they arrive
    block: NotRequired[Any]
    tuned: NotRequired[Any]


Settings.__pydantic_config__ = STRICT  # type: ignore[attr-defined]


def check(config: DictConfig) -> dict[str, Any]:
    """The composed ``config`` as plain ``Settings``; ``UserError`` for the first that is not as declared there."""
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(f"the configuration does not resolve: {' '.join(str(error).split())}") from error
    _check_keys(plain)
    _check_parts(plain)
    settings = checked(Settings, plain)
    if settings["shard"] >= settings["shards"]:
        raise UserError(
            f"shard must be below shards={settings['shards']} (shards count from 0), got {settings['shard']}"
        )
    _check_counts(settings)
    if not settings["results"].strip():
        raise UserError("results must be a folder, got an empty text: type results=PATH")
    _check_place(settings["results"])
    return settings | {"reward": _target(settings)}


def _check_keys(plain: Mapping[str, Any]) -> None:
    known = Settings.__annotations__
    for key in sorted(plain.keys() - known):
        raise UserError(f"unknown key {key}: {suggest(key, [*known, '+sweep'])} (gradproj run --help explains them)")


def _check_counts(settings: Mapping[str, Any]) -> None:
    """No number beyond MOST; a list of seeds names each once."""
    seeds = settings["seeds"]
    if isinstance(seeds, list) and (not seeds or len(set(seeds)) < len(seeds)):
        raise UserError(f"seeds must be a number or a list of different seeds, got {seeds}: type seeds=[1,2,3]")
    if "picture" not in settings["save"]:  # scores and the page are of saved pictures
        raise UserError(f"save must have picture in it, got [{','.join(settings['save'])}]: type save=[picture,latent]")
    for key, most in MOST.items():
        given = settings[key] if isinstance(settings[key], list) else [settings[key] or 0]
        if max(given) > most:
            raise UserError(f"{key} must be at most {most}, got {max(given)}")


def _check_place(results: str) -> None:
    """No ``~`` and no variable that a shell would have replaced: a folder of that name would be made."""
    meant = os.path.expandvars(os.path.expanduser(results))  # noqa: PTH111  # pathlib's raises for an unknown user
    if meant != results or results.startswith(("~", "$")):
        advice = f"results={meant}" if meant != results else "the whole path, results=/..."
        raise UserError(f"results={results}: ~ and $ are the shell's, which did not replace them: type {advice}")


def _check_parts(plain: Mapping[str, Any]) -> None:
    """Every part says what it is made by: the other checks of parts need the code that ``_target_`` names."""
    rewards = plain.get("rewards")
    if isinstance(rewards, dict) and "_target_" in rewards:
        raise UserError(
            f"rewards has {rewards['_target_']!r} itself in it instead of a reward: "
            "a reward's YAML file begins with the line # @package rewards.NAME"
        )
    parts = {f"rewards.{name}": node for name, node in rewards.items()} if isinstance(rewards, dict) else {}
    for key, node in (parts | {key: plain.get(key) for key in ("model", "method", "tracker")}).items():
        if isinstance(node, dict) and not isinstance(node.get("_target_"), str):
            raise UserError(
                f"{key}._target_ must be the path of the function or class that makes the part, such as "
                f"gradproj.rewards.clip.Clip, got {node.get('_target_')!r}"
            )


def _target(settings: Mapping[str, Any]) -> Any:
    """The climbed reward: a name, or a mix in the order of its names. A mix of one at weight 1 is that reward."""
    given, scored = settings["reward"], settings["rewards"]
    mix = {given: 1} if isinstance(given, str) else given
    if not mix or not all(math.isfinite(weight) and weight != 0 for weight in mix.values()):
        raise UserError(
            f"reward must be a name or a mix such as {MIX}, with finite weights other than 0, got {given!r}"
        )
    for name in mix:
        if name not in scored:
            raise UserError(
                f"reward={name} is not among what is scored: {suggest(name, scored)} Type one of {', '.join(scored)}, "
                f"or add it: 'rewards=[{','.join(scored)},{name}]'"
            )
    return next(iter(mix)) if list(mix.values()) == [1] else {name: mix[name] for name in sorted(mix)}


def split_rewards(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """``settings`` with the rewards that are scored on the way, and those that are scored after it (``held_out``)."""
    scored = settings["rewards"]
    now = target(settings) if settings["held_out"] == "after" else scored
    after = {name: node for name, node in scored.items() if name not in now}
    return {**settings, "rewards": {name: scored[name] for name in now}}, after


def images(settings: Mapping[str, Any], prompts: int) -> Share:
    """The images of this worker's shard."""
    return Share(prompts, settings["seeds"], settings["shard"], settings["shards"])
