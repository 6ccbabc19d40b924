"""The vocabulary: Model, Reward, Method. (Step is in ``optimize``, the record in ``records``.)"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, runtime_checkable

import torch
from annotated_types import Ge, Gt
from jaxtyping import Float
from PIL.Image import Image as Picture
from torch import Tensor

Latent = Float[Tensor, "b *latent"]  # float32; N(0, 1) entrywise at step 0
Image = Float[Tensor, "b 3 h w"]  # float32 RGB in [0, 1]
Score = Float[Tensor, " b"]  # the reward's published unit, higher is better, no offsets

Positive = Annotated[float, Gt(0)]  # of settings: what is typed is checked against a signature's annotations
NotNegative = Annotated[float, Ge(0)]
Count = Annotated[int, Ge(1)]

OptimizerMaker = Callable[[Iterable[Tensor]], torch.optim.Optimizer]  # a partial of a torch optimiser
Direction = Callable[[Tensor, Tensor, Sequence[torch.Generator]], Tensor]
"""(latent, reward gradient, one CPU generator per sample) -> ascent direction, all (b, *latent) float32."""


@runtime_checkable
class Model(Protocol):
    """A one-step text-to-image generator, differentiable in its latent.

    Making one is cheap: it reads its settings and small files, so that ``weights`` and ``latent_shape`` are known; its
    networks are fetched and loaded at their first use. Every part is used once before the first image, so that what is
    missing or damaged is told before the work. A model or a reward that cannot read every prompt may have
    ``check_prompts(prompts)``, which raises ``ValueError`` for one that it cannot read, without loading anything.
    """

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Without b."""
        ...

    @property
    def device(self) -> torch.device: ...

    @property
    def weights(self) -> Mapping[str, str]:
        """File -> sha256 or revision, known without loading it: part of a run's name."""
        ...

    def encode(self, prompts: Sequence[str]) -> Any:
        """The condition of every prompt, without gradient; opaque. ``ValueError`` for a prompt it cannot read."""
        ...

    def generate(self, latent: Latent, condition: Any) -> Image:
        """One picture per latent; pure; casts to the model's dtype and back."""
        ...


@runtime_checkable
class Reward(Protocol):
    """What a picture is worth, in two forms: one to climb and the official one to report.

    A measure that has no differentiable form leaves out ``encode`` and ``__call__``: it can be held out, not climbed.
    Making one is cheap, and it may have ``check_prompts``, as a model may.
    """

    @property
    def weights(self) -> Mapping[str, str]:
        """As a model's."""
        ...

    def encode(self, prompts: Sequence[str]) -> Any:
        """What the reward needs of every prompt, without gradient; opaque."""
        ...

    def __call__(self, image: Image, text: Any) -> Score:
        """Differentiable in ``image``, any h and w; what is climbed."""
        ...

    def score(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> Score:
        """Official preprocessing of 8-bit pictures; what is reported. Without gradient."""
        ...


def follow_gradient(latent: Tensor, reward_gradient: Tensor, rng: Sequence[torch.Generator]) -> Tensor:
    """The plain direction: the reward's gradient."""
    return reward_gradient


def stay(latent: Tensor) -> Tensor:
    """The plain retraction: none."""
    return latent


@dataclass(frozen=True)
class Method:
    """A method is data: where to go from a reward gradient, how far, and what the latent must be after.

    ``direction`` answers the ascent direction, ``clip`` bounds its l2 norm per sample, ``optimizer`` makes the torch
    optimiser over one parameter per sample (so its state is per sample), ``retract`` maps the latent after each update.
    """

    optimizer: OptimizerMaker
    direction: Direction = follow_gradient
    retract: Callable[[Tensor], Tensor] = stay
    clip: float = float("inf")


def default_device() -> torch.device:
    """The first GPU where there is one (hide it with ``CUDA_VISIBLE_DEVICES=``), else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
