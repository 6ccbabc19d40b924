"""Feature networks for the measures of diversity: one module each, found by its name. A module has ``load``."""

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
    """8-bit pictures of any size -> float32 features (b, d) and class logits (b, classes), on the processor.

    No picture sees its neighbours in the batch.
    """

    @property
    def weights(self) -> Mapping[str, str]:
        """File -> sha256."""
        ...

    def __call__(self, pictures: Sequence[Picture]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b classes"]]: ...


def names() -> list[str]:
    """The feature networks there are."""
    return sorted(module.name for module in iter_modules(__path__))


def of_model(model: str) -> str:
    """The network for the pictures of ``model`` (its YAML's name): one that is called as it is, else the Inception."""
    return model if model in names() else DEFAULT


def load(name: str, weights: str | None = None, sha256: str | None = None) -> FeatureNetwork:
    """The network ``name``; ``weights``: its file, where it is not the usual one, and ``sha256`` what that must be.

    ``UserError`` for an unknown name, a file that is not there, not whole or another one.
    """
    if name not in names():
        raise UserError(f"no feature network {name!r}: type one of {', '.join(names())}")
    return import_module(f"gradproj.diversity.features.{name}").load(weights, sha256)
