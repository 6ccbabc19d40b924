"""What the person typed: values checked, prompts read. No torch: bad input answers at once."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gradproj.errors import UserError
from gradproj.runs.naming import Share, target

KEYS = {"model", "method", "reward", "rewards", "prompts", "seeds", "steps", "batch", "shard", "shards", "keep"}
KEYS |= {"held_out", "max_retries", "protocol", "score_every", "max_skips", "results", "untuned_lr", "block", "tuned"}
AT_LEAST = {"steps": 1, "seeds": 1, "batch": 1, "shards": 1, "shard": 0, "score_every": 1, "max_skips": 1}
AT_LEAST |= {"max_retries": 0}


def choose_rewards(arguments: Sequence[str], folder: Path) -> list[str]:
    """``arguments`` with ``rewards=SET``, the set in ``folder`` that has the target, unless they say what is scored."""
    keys = [one.partition("=")[0].lstrip("+") for one in arguments]
    if "reward" not in keys or "rewards" in keys:
        return list(arguments)
    at = keys.index("reward")
    words = set(re.findall(r"(?<![\w.])[A-Za-z]\w*", arguments[at].partition("=")[2]))
    names = {word for word in words if (folder / f"{word}.yaml").is_file()}
    for file in sorted(folder.glob("*.yaml")):
        members = yaml.safe_load(file.read_text(encoding="utf-8")).get("defaults", [])
        if names and names <= {one for one in members if isinstance(one, str)}:
            return [*arguments[: at + 1], f"rewards={file.stem}", *arguments[at + 1 :]]  # beside its like: argparse
    return list(arguments)


def check(config: DictConfig) -> dict[str, Any]:
    """The composed config, resolved to plain Python, its own keys' values checked."""
    try:
        plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise UserError(f"the configuration does not resolve: {error}") from error
    unknown = plain.keys() - KEYS
    if unknown:
        raise UserError(f"unknown key {', '.join(sorted(unknown))}: expected {', '.join(sorted(KEYS))}")
    for key in (*AT_LEAST, "keep", "held_out", "reward", "rewards", "prompts", "results"):
        if key not in plain:
            raise UserError(f"{key} is missing: leave it at its default or give it a value (gradproj run --help)")
    for key, least in AT_LEAST.items():
        value = plain[key]
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise UserError(f"{key} must be a whole number, at least {least}, got {value!r}: type {key}={least}")
    if plain["shard"] >= plain["shards"]:
        raise UserError(f"shard must be below shards={plain['shards']} (shards count from 0), got {plain['shard']}")
    if plain["keep"] not in ("last", "best"):
        raise UserError(f"keep must be last or best, got {plain['keep']!r}: type keep=last")
    if plain["held_out"] not in ("during", "after"):
        raise UserError(f"held_out must be during or after, got {plain['held_out']!r}: type held_out=during")
    if not isinstance(plain["results"], str):
        raise UserError(f"results must be a folder, got {plain['results']!r}: type results=results")
    _check_target(plain)
    return plain


def _check_target(plain: dict[str, Any]) -> None:
    target, scored = plain["reward"], plain["rewards"]
    names = [target] if isinstance(target, str) else list(target) if isinstance(target, dict) else []
    weights = target.values() if isinstance(target, dict) else [1.0]
    if not names or not all(_is_weight(weight) for weight in weights):
        raise UserError(
            f"reward must be a name or a mix such as '{{shapes_matcher: 5, shapes_aesthetic: 1}}', got {target!r}"
        )
    if isinstance(target, dict):  # the order of a mix is not part of it, and one at weight 1 is that one
        single = len(target) == 1 and next(iter(target.values())) == 1
        plain["reward"] = names[0] if single else {name: target[name] for name in sorted(target)}
    for name in names:
        if name not in scored:
            raise UserError(
                f"reward={name} is not among what is scored: type one of {', '.join(scored)}, "
                f"or add it: 'rewards=[{','.join(scored)},{name}]'"
            )


def split_rewards(plain: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """``plain`` with the rewards that are scored on the way, and those that are scored after it (``held_out``)."""
    scored = plain["rewards"]
    now = target(plain) if plain["held_out"] == "after" else scored
    after = {name: settings for name, settings in scored.items() if name not in now}
    return {**plain, "rewards": {name: scored[name] for name in now}}, after


def images(plain: Mapping[str, Any], prompts: int) -> Share:
    """The images of this worker's shard."""
    return Share(prompts, plain["seeds"], plain["shard"], plain["shards"])


def _is_weight(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and value != 0


def read_prompts(prompts: Any, folder: Path) -> list[str]:
    """A list as it is, or the lines of the named set ``folder/<name>.txt`` or a text file. Position = prompt id."""
    if isinstance(prompts, list):
        lines, source = [str(prompt) for prompt in prompts], "prompts=[...]"
    else:
        named = folder / f"{prompts}.txt"
        source = str(prompts)
        try:
            source = str(named if named.is_file() else prompts)
            lines = Path(source).read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            raise UserError(
                f"the prompt file {source} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
            ) from error
        except OSError as error:
            sets = ", ".join(sorted(path.stem for path in folder.glob("*.txt")))
            fetch = "; type: gradproj prompts fetch" if prompts == "t2i" else ""
            raise UserError(
                f"prompts={prompts}: no such set or readable file ({error.strerror}); the sets are {sets}{fetch}"
            ) from error
    if lines in ([], [""]):
        raise UserError(f"{source} holds no prompt; write one per line")
    blank = [number for number, line in enumerate(lines, 1) if not line.strip()]
    if blank:
        raise UserError(
            f"{source}: prompt {blank[0]} is blank; every line is a prompt and its number the prompt's id: remove it"
        )
    return lines
