"""The miniature's classifier: which of the 40 objects a picture shows, learnt from renderings."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from PIL.Image import Image as Picture
from torch import Tensor

from gradproj.errors import UserError
from gradproj.miniature.networks import Classifier
from gradproj.miniature.pixels import read
from gradproj.miniature.weights import load_network, name_weights
from gradproj.types import default_device


class Shapes:
    """Features (b, 64), and logits (b, 40) in the order of ``miniature.captions.OBJECTS``."""

    def __init__(self) -> None:
        self.device = default_device()
        self.weights = name_weights("classifier")
        self.network = load_network(Classifier, "classifier", self.device)

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Picture]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b classes"]]:
        features = self.network.embed(read(pictures).to(self.device))
        return features.cpu(), self.network.head(features).cpu()


def load(weights: str | None, sha256: str | None) -> Shapes:
    """The network; ``UserError`` where other weights are asked for, because these come with the package."""
    if weights or sha256:
        raise UserError("the features `shapes` come with their weights: leave --weights and --sha256 out")
    return Shapes()
