"""How images and runs are named: an image's id, what of the settings a run's name covers, and their fingerprint.

Imports no torch.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

LOOP = ("steps", "keep", "score_every", "max_skips")
NAMED = ("protocol", *LOOP, "model", "method", "reward", "rewards")
# The nodes of a part's settings that change no number: where its weights come from (the name has the weights
# themselves) and how its networks fit in memory.
UNNAMED = ("source", "memory")
# Settings that came after the first runs, and the value under which a run is what it was before: left out, too.
AS_BEFORE = {"quantization": "none", "decoder": "full"}


class ImageId(NamedTuple):
    """One image of a run: the prompt's id (its place among the prompts, from 0) and the seed of its noise."""

    prompt: int
    seed: int

    def __str__(self) -> str:
        """As the image's files are called, such as ``0003-1``."""
        return f"{self.prompt:04d}-{self.seed}"

    @classmethod
    def parse(cls, text: str) -> "ImageId":
        """The reverse of ``str``; ``ValueError`` for a text that no image has."""
        parts = re.fullmatch(r"([0-9]{4}|[1-9][0-9]{4,})-(0|[1-9][0-9]*)", text)
        if parts:
            return cls(int(parts[1]), int(parts[2]))
        raise ValueError(f"expected <prompt id>-<seed>, such as {cls(3, 1)}, got {text!r}")


@dataclass(frozen=True)
class Share:
    """The images of one worker: of ``prompts`` x ``seeds`` every ``shards``-th from ``shard`` on, prompt by prompt.

    ``seeds`` is how many there are of each prompt (0, 1, ...), or a list of them. Counted and looked up without a list
    of images, so that a plan of 10**9 images takes no memory.
    """

    prompts: int
    seeds: int | Sequence[int]
    shard: int = 0
    shards: int = 1

    def __len__(self) -> int:
        return len(self._places())

    def __contains__(self, image: ImageId) -> bool:
        prompt, seed = image
        inside = 0 <= prompt < self.prompts and seed in self._seeds
        return inside and self._place(image) in self._places()

    def __iter__(self) -> Iterator[ImageId]:
        return map(self._image, self._places())

    def __getitem__(self, at: int) -> ImageId:
        return self._image(self._places()[at])

    def index(self, image: ImageId) -> int:
        """Where ``image`` stands among these; ``ValueError`` where it does not."""
        return self._places().index(self._place(image))

    @property
    def _seeds(self) -> Sequence[int]:
        return range(self.seeds) if isinstance(self.seeds, int) else self.seeds

    def _image(self, place: int) -> ImageId:
        prompt, index = divmod(place, len(self._seeds))
        return ImageId(prompt, self._seeds[index])

    def _place(self, image: ImageId) -> int:
        return image.prompt * len(self._seeds) + self._seeds.index(image.seed)

    def _places(self) -> range:
        return range(self.prompts * len(self._seeds))[self.shard :: self.shards]


def config_of(model: str, method: str, target: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's name covers of ``settings``, without prompts and weights, which the caller adds.

    ``model`` and ``method`` are the YAML files' names, ``target`` the names of the climbed rewards.
    """
    names = {"model": model, "method": method, "reward": "+".join(target)}
    return {"names": names} | {key: named_settings(settings[key]) for key in NAMED}


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


def named_settings(settings: Any) -> Any:
    """``settings`` without the UNNAMED nodes of gradproj's own parts; the settings of a part of your own all count."""
    if not isinstance(settings, dict):
        return settings
    left_out = UNNAMED if is_own(settings) else ()
    before = AS_BEFORE.items() if left_out else ()
    kept = {key: value for key, value in settings.items() if key not in left_out and (key, value) not in before}
    return {key: named_settings(value) for key, value in kept.items()}


def with_sources(stored: Any, today: Any) -> Any:
    """``stored``, made by ``named_settings``, with the UNNAMED nodes of the same parts in ``today``'s settings."""
    if not (isinstance(stored, dict) and isinstance(today, dict)):
        return stored
    same = is_own(stored) and stored["_target_"] == today.get("_target_")
    unnamed = {key: today[key] for key in UNNAMED if same and key in today}
    return {key: with_sources(value, today.get(key)) for key, value in stored.items()} | unnamed


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
