"""Feature networks for the measures of diversity. Each is a module with a function ``load``, found by its name."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from PIL.Image import Image as Picture
from torch import Tensor

from gradproj.errors import UserError

DEFAULT = "inception"


@runtime_checkable
class FeatureNetwork(Protocol):
    """A network from 8-bit pictures of any size to float32 features (b, d) and class logits (b, classes), on the CPU.

    What it answers for a picture does not depend on the other pictures of the batch.
    """

    @property
    def weights(self) -> Mapping[str, str]:
        """The name of each weights file -> its sha256."""
        ...

    def __call__(self, pictures: Sequence[Picture]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b classes"]]: ...


def names() -> list[str]:
    """The names of all feature networks, sorted."""
    return sorted(module.name for module in iter_modules(__path__))


def of_model(model: str) -> str:
    """The network for the pictures of ``model``, a YAML's name: the one of the same name, or else the Inception."""
    return model if model in names() else DEFAULT


def load(name: str, weights: str | None = None, sha256: str | None = None) -> FeatureNetwork:
    """The network ``name``, with the file ``weights``, which must have the hash ``sha256``, instead of its usual one.

    Raises ``UserError`` for an unknown name, and for a file that is missing, cut or not the expected one.
    """
    if name not in names():
        raise UserError(f"no feature network {name!r}: type one of {', '.join(names())}")
    return import_module(f"gradproj.diversity.features.{name}").load(weights, sha256)
