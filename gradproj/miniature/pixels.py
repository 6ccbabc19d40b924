"""From pictures of any size to the miniature's 32 x 32: for tensors, differentiably, and for PIL pictures."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL.Image import Image as Picture
from PIL.Image import Resampling
from torch import Tensor

from gradproj.miniature.render import SIZE
from gradproj.types import Image


def shrink(image: Image) -> Tensor:
    """From (b, 3, h, w) to (b, 3, 32, 32): the shorter side becomes 32 (bicubic, antialiased), the centre stays."""
    height, width = image.shape[-2:]
    if (height, width) == (SIZE, SIZE):
        return image
    scale = SIZE / min(height, width)
    size = (round(height * scale), round(width * scale))
    image = F.interpolate(image, size=size, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (size[0] - SIZE) // 2, (size[1] - SIZE) // 2
    return image[..., top : top + SIZE, left : left + SIZE]


def read(pictures: Sequence[Picture]) -> Tensor:
    """From PIL pictures of any size to (b, 3, 32, 32) float32 in [0, 1], as ``shrink`` but resized by PIL in 8 bits."""
    return torch.stack([_read_one(picture) for picture in pictures])


def _read_one(picture: Picture) -> Tensor:
    picture = picture.convert("RGB")
    width, height = picture.size
    if (width, height) != (SIZE, SIZE):
        scale = SIZE / min(width, height)
        width, height = round(width * scale), round(height * scale)
        left, top = (width - SIZE) // 2, (height - SIZE) // 2
        picture = picture.resize((width, height), Resampling.BICUBIC).crop((left, top, left + SIZE, top + SIZE))
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).permute(2, 0, 1)
