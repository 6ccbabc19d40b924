"""How a run is named: what of its settings the name covers, and their fingerprint. Imports no torch."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

LOOP = ("steps", "keep", "score_every", "max_skips")
SCIENCE = ("protocol", *LOOP, "model", "method", "reward", "rewards")
# The nodes of a part's settings that change no number: where its weights come from (the name has the weights
# themselves) and how its networks fit in memory.
ELSEWHERE = ("source", "memory")


def named(model: str, method: str, target: Sequence[str], plain: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's name covers, without prompts and weights. ``model`` and ``method`` are the YAML files' names."""
    names = {"model": model, "method": method, "reward": "+".join(target)}
    return {"names": names} | {key: science(plain[key]) for key in SCIENCE}


def target(config: Mapping[str, Any]) -> dict[str, float]:
    """The climbed rewards of a run's settings or config, each with its weight in the sum that is climbed."""
    mix = {config["reward"]: 1} if isinstance(config["reward"], str) else config["reward"]
    return {name: float(weight) for name, weight in mix.items()}


def target_label(config: Mapping[str, Any]) -> str:
    """What tables and plots call the climbed reward: its name, or for a weighted sum ``5*shapes_matcher+clip``.

    A weighted sum never has the name of a reward alone, so its values cannot be read as that reward's.
    """
    terms = [name if weight == 1 else f"{weight:g}*{name}" for name, weight in target(config).items()]
    return "+".join(terms).replace("+-", "-")


def science(value: Any) -> Any:
    """``value`` without the ELSEWHERE nodes of gradproj's own parts; the settings of a part of your own all count."""
    if isinstance(value, dict):
        return {key: science(one) for key, one in value.items() if not (is_own(value) and key in ELSEWHERE)}
    return value


def restored(stored: Any, today: Any) -> Any:
    """``stored``, made by ``science``, with the ELSEWHERE nodes that ``today``'s settings of the same parts have."""
    if not (isinstance(stored, dict) and isinstance(today, dict)):
        return stored
    same = is_own(stored) and stored["_target_"] == today.get("_target_")
    elsewhere = {key: today[key] for key in ELSEWHERE if same and key in today}
    return {key: restored(one, today.get(key)) for key, one in stored.items()} | elsewhere


def is_own(part: Mapping[str, Any]) -> bool:
    """Whether these are the settings of a part of gradproj."""
    return str(part.get("_target_", "")).startswith("gradproj.")


def fingerprint(config: Any) -> str:
    """8 hex digits over a nested config; ``1`` and ``1.0`` are the same number, key order does not matter."""
    return hashlib.sha256(json.dumps(_canonical(config), sort_keys=True).encode()).hexdigest()[:8]


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
