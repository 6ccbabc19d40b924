"""The miniature's second image-text matcher, only held out: another architecture, seed and loss than the first."""

from collections.abc import Sequence
from functools import cached_property

import torch
from PIL.Image import Image as Picture

from gradproj.miniature.captions import ReadsCaptions, parse_all
from gradproj.miniature.networks import CrossMatcher
from gradproj.miniature.pixels import read
from gradproj.miniature.weights import load_network, name_weights
from gradproj.types import Score, default_device


class ShapesHeldout(ReadsCaptions):
    """Unit: probability that the caption fits, in [0, 1]. No ``__call__``: it can be held out, not climbed."""

    def __init__(self) -> None:
        self.device = default_device()
        self.weights = name_weights("heldout")

    @cached_property
    def network(self) -> CrossMatcher:
        return load_network(CrossMatcher, "heldout", self.device)

    @torch.no_grad()
    def score(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> Score:
        captions = torch.tensor(parse_all(prompts), device=self.device)
        return self.network(read(pictures).to(self.device), captions).sigmoid().cpu()
