"""What the networks of a run have on the GPU in each of its stages, added up from their bytes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Generator:
    """Bytes of a model: its text encoders, generator and decoder; and of one picture's two passes.

    ``kept`` is what the forward pass leaves for the backward pass, and ``peak`` the most at any moment of the two.
    """

    text: int
    weights: int
    kept: int
    peak: int


@dataclass(frozen=True)
class Judge:
    """Bytes of a reward: what reads prompts and leaves, what stays, and the most of one picture's two passes."""

    text: int
    weights: int
    peak: int


def stages(
    model: Generator,
    rewards: Mapping[str, Judge],
    climbed: Collection[str],
    batch: int,
    held_out: str,
    text_on_gpu: bool = True,
) -> dict[str, int]:
    """Stage -> bytes of tensors on the GPU at the most, of a batch of ``batch`` pictures.

    ``climbed`` are the names of the rewards that are climbed; where the others are says ``held_out`` (``during``,
    ``cpu``, ``after``). A text encoder shares the GPU with nothing.
    """
    others = [judge for name, judge in rewards.items() if name not in climbed]
    here = [rewards[name] for name in climbed if name in rewards]
    there = here + others * (held_out == "during")
    load = model.weights + sum(judge.weights for judge in there)
    judged = model.kept + sum(judge.peak for judge in here)  # a reward sees the picture while all of its graph is kept
    texts = [model.text * text_on_gpu, *(judge.text for judge in here + others * (held_out != "cpu"))]
    after = [judge.weights for judge in others] if held_out == "after" else []
    return {
        "text": max(texts),
        "load": load,
        "climb": load + batch * max(model.peak, judged),
        "score": max(after, default=0),
    }
