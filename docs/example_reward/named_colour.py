"""A reward in one file: how much of a picture has the colour that its prompt names."""

from pathlib import Path

import torch
from torchvision.transforms.functional import to_tensor

from gradproj.files import sha256

COLOURS = {"red": (1, 0, 0), "orange": (1, 0.6, 0), "yellow": (1, 1, 0), "green": (0, 1, 0)}
COLOURS |= {"blue": (0, 0, 1), "purple": (0.6, 0, 0.6), "white": (1, 1, 1), "black": (0, 0, 0)}


class NamedColour:
    """Unit: soft share of the pixels in the first colour that the prompt names, in [0, 1]; `width`: how soft."""

    def __init__(self, width: float) -> None:
        self.width = width
        self.weights = {"named_colour.py": sha256(Path(__file__))}  # the formula is this reward's checkpoint

    def encode(self, prompts):
        named = [[COLOURS[word] for word in prompt.split() if word in COLOURS] for prompt in prompts]
        if not all(named):
            raise ValueError(f"{prompts[named.index([])]!r} names no colour; expected one of {', '.join(COLOURS)}")
        return torch.tensor([colours[0] for colours in named], dtype=torch.float32)

    def __call__(self, image, text):  # (b, 3, h, w) float32 in [0, 1] -> (b,), differentiable in image
        distance = (image - text.to(image)[:, :, None, None]).square().sum(dim=1)
        return (-distance / (2 * self.width**2)).exp().mean(dim=(1, 2))

    @torch.no_grad()
    def score(self, pictures, prompts):  # PIL pictures, each of its own size -> (b,) on the CPU
        pairs = zip(pictures, self.encode(prompts), strict=True)
        return torch.cat([self(to_tensor(picture.convert("RGB"))[None], text[None]) for picture, text in pairs])
