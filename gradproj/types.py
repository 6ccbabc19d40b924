"""The vocabulary: Model, Reward, Method. (``Step`` is in ``optimize``, the record of an image in ``runs.record``.)"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
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

Positive = Annotated[float, Gt(0)]  # for constructors: what a person typed is checked against their annotations
NotNegative = Annotated[float, Ge(0)]
Count = Annotated[int, Ge(1)]

OptimizerMaker = Callable[[Iterable[Tensor]], torch.optim.Optimizer]  # a functools.partial of a torch optimiser
Direction = Callable[[Tensor, Tensor, Sequence[torch.Generator]], Tensor]
"""(latent, reward gradient, one CPU generator per sample) -> ascent direction, all (b, *latent) float32."""


@runtime_checkable
class Model(Protocol):
    """A one-step text-to-image generator, differentiable in its latent.

    It is cheap to construct: it reads its settings and small files, from which ``weights`` and ``latent_shape`` are
    known, and its networks are fetched and loaded at their first use. A run uses every part once before its first
    image, so that missing or damaged files are reported before the work begins. A model or a reward that cannot take
    every prompt may have ``check_prompts(prompts)``, which raises ``ValueError`` for such a prompt and loads nothing.
    A model with ``wants_gpu = True`` is not run on a processor unless a person says so. One that makes a backward pass
    again where its number type's range does not do may have ``halvings``: (b,) int64, how often it did for each sample
    of the last ``generate``. A model of a published pipeline may have ``published(latent, prompts)``: the pictures by
    the published code, to which ``gradproj verify`` holds its own.

    A model whose ``generate`` is only near the picture to judge it by may have ``render(latent, condition)``: that
    picture, without gradient, which is scored and saved in place of the climb's; ``render = None``: they are one.
    """

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """The shape of one latent, without the batch axis."""
        ...

    @property
    def device(self) -> torch.device:
        """Where its networks are, and where it returns pictures."""
        ...

    @property
    def weights(self) -> Mapping[str, str]:
        """File -> sha256 or revision, which a run's name covers; known without loading the file."""
        ...

    def encode(self, prompts: Sequence[str]) -> Any:
        """What ``generate`` needs to know of the b prompts, in a form of its own, without gradient.

        Raises ``ValueError`` for a prompt that it cannot take.
        """
        ...

    def generate(self, latent: Latent, condition: Any) -> Image:
        """One picture for each latent. The same arguments give the same picture; it casts to its own dtype and back."""
        ...


@runtime_checkable
class Reward(Protocol):
    """What a picture is worth, in two forms: a differentiable one to climb, and the official one to report.

    A measure without a differentiable form leaves out ``encode`` and ``__call__``; it can be held out, but not climbed.
    A reward is cheap to construct and may have ``check_prompts``, as a model, and ``published(pictures, prompts)``: the
    same as ``score`` by the published code, to which ``gradproj verify`` holds it.
    """

    @property
    def weights(self) -> Mapping[str, str]:
        """File -> sha256 or revision, as a model's."""
        ...

    def encode(self, prompts: Sequence[str]) -> Any:
        """What ``__call__`` needs to know of the b prompts, in a form of its own, without gradient."""
        ...

    def __call__(self, image: Image, text: Any) -> Score:
        """The score that is climbed, differentiable in ``image``, which may have any height and width."""
        ...

    def score(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> Score:
        """The score that is reported, of 8-bit pictures after the official preprocessing, without gradient."""
        ...


def follow_gradient(latent: Tensor, reward_gradient: Tensor, rng: Sequence[torch.Generator]) -> Tensor:
    """The default direction: the reward's gradient as it is."""
    return reward_gradient


def stay(latent: Tensor) -> Tensor:
    """The default retraction, which leaves the latent where it is."""
    return latent


@dataclass(frozen=True)
class Method:
    """A method is data: where to go from a reward gradient, how far, and what becomes of the latent afterwards.

    ``direction`` gives the ascent direction, and ``clip`` bounds its l2 norm per sample. ``optimizer`` makes the torch
    optimiser over one parameter per sample, so that its state is per sample, too. ``retract`` maps the latent after
    each update.
    """

    optimizer: OptimizerMaker
    direction: Direction = follow_gradient
    retract: Callable[[Tensor], Tensor] = stay
    clip: float = float("inf")


def projected(
    optimizer: OptimizerMaker,
    clip: float,
    direction: Callable[[Tensor], Tensor] | None,
    retract: Callable[[Tensor], Tensor] | None,
) -> Method:
    """A method whose direction is made of the reward's gradient alone; None: the gradient, or the latent, as it is."""
    if direction is None:
        return Method(optimizer, retract=retract or stay, clip=clip)
    return Method(optimizer, lambda latent, gradient, rng: direction(gradient), retract or stay, clip)


_device: ContextVar[torch.device | None] = ContextVar("device", default=None)


def default_device() -> torch.device:
    """Where a part computes: on the device chosen by ``on_device``, else on the first GPU, else on the processor."""
    return _device.get() or torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def on_device(device: torch.device | None) -> Iterator[None]:
    """Parts that are made inside of the block compute on ``device``; None: where ``default_device`` finds it best."""
    before = _device.set(device)
    try:
        yield
    finally:
        _device.reset(before)
