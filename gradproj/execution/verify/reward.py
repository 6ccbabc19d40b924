"""A reward against its published code on the pictures that ship, and its climbed form against its official one."""

import json
from typing import Any, NamedTuple

import torch

from gradproj.execution import protocol
from gradproj.execution.settings.overrides import data_folder
from gradproj.execution.settings.parts import make
from gradproj.execution.verify import REWARD, Finding, Task, allowed, shipped
from gradproj.pretrained.preprocess import to_tensor

RECORDED = "verified/published_scores.json"  # among the results: reward -> weights and scores by its published code


class Reference(NamedTuple):
    """Scores of every shipped picture with every prompt, (pictures, prompts) float64, and whose they are."""

    scores: torch.Tensor
    source: str


def reward(task: Task, name: str) -> Finding:
    """Every shipped picture with every prompt; the difference is in standard deviations of the published scores."""
    settings = task.settings["rewards"][name]
    part = make(settings, f"rewards.{name}", task.settings["device"])
    found = _published(part) or _recorded(name, part)
    if found is None:
        said = (
            f"not compared: {type(part).__name__} has no published code here, and nobody has recorded its scores for "
        )
        return Finding(name, "note", said + "these weights (results/verified/README.md says how)")
    ours = _scores(lambda pictures, prompts: protocol.score(name, part, pictures, prompts))
    spread, tolerance = float(found.scores.std()), allowed(REWARD, settings)
    difference = float((ours - found.scores).abs().max()) / spread
    climbed = _climbed(part) / spread
    numbers = {"difference": difference, "climbed": climbed, "tolerance": tolerance, "spread": spread}
    numbers |= {"source": found.source, "scores": ours.tolist()}
    said = f"differs from {found.source} by {difference:.1e}, its climbed form from it by {climbed:.1e} of the scores' "
    said += f"spread ({tolerance:g} is allowed)"
    if difference <= tolerance and climbed <= tolerance:
        return Finding(name, "OK", said, "", numbers)
    advice = "its numbers are not the published ones; please report it with the page"
    return Finding(name, "wrong", said, advice, numbers)


def _published(part: Any) -> Reference | None:
    """By the published code itself, where the part says how to call it."""
    call: Any = getattr(part, "published", None)
    return Reference(_scores(call), "the published code") if call else None


def _recorded(name: str, part: Any) -> Reference | None:
    """Recorded by somebody with the same weights and the same pictures."""
    path = data_folder("results") / RECORDED
    entries = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for entry in entries.get(name, []):
        if entry["weights"] == dict(part.weights) and entry["pictures"] == shipped.digest():
            return Reference(torch.tensor(entry["scores"], dtype=torch.float64), "the recorded published scores")
    return None


def _scores(score: Any) -> torch.Tensor:
    pictures, prompts = shipped.pictures(), shipped.PROMPTS
    pairs = [(picture, prompt) for picture in pictures for prompt in prompts]
    found = score([picture for picture, _ in pairs], [prompt for _, prompt in pairs])
    return found.double().cpu().view(len(pictures), len(prompts))


@torch.no_grad()
def _climbed(part: Any) -> float:
    """How far the climbed form is from the official one on a picture of the reward's own size: nothing resizes it."""
    (picture,) = shipped.pictures([(part.size, part.size)])
    prompts = shipped.PROMPTS
    image = to_tensor(picture).to(part.device).expand(len(prompts), -1, -1, -1)
    climbed = protocol.climb("reward", part, image, part.encode(prompts)).cpu()
    official = protocol.score("reward", part, [picture] * len(prompts), prompts)
    return float((climbed - official).abs().max())
