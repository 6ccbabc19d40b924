"""The miniature's incorruptible measure: how well the best rendering of the caption explains the picture."""

from collections.abc import Sequence

import torch
from PIL.Image import Image as Picture

from gradproj.miniature.best_fit import explained
from gradproj.miniature.captions import ReadsCaptions, parse_all
from gradproj.miniature.pixels import read
from gradproj.types import Score


class ShapesRendering(ReadsCaptions):
    """Unit: explained fraction of the variance, in [0, 1]. No ``__call__``: it can be held out, not climbed."""

    def __init__(self) -> None:
        self.weights: dict[str, str] = {}

    def score(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> Score:
        pairs = zip(read(pictures), parse_all(prompts), strict=True)
        return torch.tensor([explained(image, *caption) for image, caption in pairs])
