"""A picture of any size to a network's square input, once for tensors (differentiable) and once for PIL (official).

The filter is bicubic and antialiased. PIL resizes in 8 bits; the tensor form does not round, so that it has a gradient,
but keeps PIL's clipping to [0, 1]. "Normalised": less CLIP's mean, over its standard deviation, per channel.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL.Image import Image as Picture
from PIL.Image import Resampling
from torch import Tensor

from gradproj.errors import UserError
from gradproj.types import Image

Pixels = Float[Tensor, "b 3 s s"]
Centre = Callable[[int], int]
"""How many of the pixels left over (longer side - size) go before the crop; the libraries round differently."""

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's training set, https://github.com/openai/CLIP
STD = (0.26862954, 0.26130258, 0.27577711)


def centre_transformers(extra: int) -> int:
    """Rounds down, as transformers' image processors."""
    return extra // 2


def centre_torchvision(extra: int) -> int:
    """Rounds to even, as torchvision's CenterCrop."""
    return round(extra / 2)


def fit(image: Image, size: int, centre: Centre) -> Pixels:
    """(b, 3, h, w) in [0, 1] to (b, 3, size, size), normalised, differentiable: shorter side to size, centre."""
    height, width = _shorter_to(size, image.shape[-2], image.shape[-1])
    image = _resize(image, height, width).clamp(0, 1)
    top, left = centre(height - size), centre(width - size)
    return normalise(image[..., top : top + size, left : left + size])


def fit_inside(image: Image, size: int) -> Pixels:
    """The same, but the longer side to size, in the middle of black; what the filter throws beyond [0, 1] is kept.

    As hpsv2 1.2.0 does with tensors, also of 8-bit pictures, on torchvision >= 0.17 (older ones did not antialias
    tensors); of a picture that is not square and whose longer side has ``size`` already it makes an error.
    """
    scale = size / max(image.shape[-2:])
    height, width = (max(round(side * scale), 1) for side in image.shape[-2:])
    top, left = (size - height) // 2, (size - width) // 2
    image = _resize(image, height, width)
    return normalise(F.pad(image, (left, size - width - left, top, size - height - top)))


def fit_pictures(pictures: Sequence[Picture], size: int, centre: Centre, convert_first: bool = True) -> Pixels:
    """PIL pictures of any sizes and modes to (b, 3, size, size) float32: the same, resized by PIL in 8 bits.

    ``convert_first``: to RGB before the resize, as transformers does; OpenAI's and ImageReward's transforms do it last.
    """
    if convert_first:
        pictures = [picture.convert("RGB") for picture in pictures]
    return torch.cat([normalise(to_tensor(_fit_one(picture, size, centre))) for picture in pictures])


def to_tensor(picture: Picture) -> Image:
    """(1, 3, h, w) float32 in [0, 1] of a picture of any mode."""
    levels = np.array(picture.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(levels / 255).permute(2, 0, 1)[None]


def normalise(image: Tensor) -> Tensor:
    """(b, 3, h, w) in [0, 1] less CLIP's mean, over its standard deviation, per channel."""
    mean, std = _mean_std(image.dtype, image.device)
    return (image - mean) / std


@cache
def _mean_std(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """(3, 1, 1) each, kept there: the host waits for a copy."""
    mean, std = (torch.tensor(values, dtype=dtype, device=device).view(3, 1, 1) for values in (MEAN, STD))
    return mean, std


def pair_up(pictures: Sequence[Picture], prompts: Sequence[str]) -> None:
    """``UserError`` unless there is one prompt a picture, and at least one."""
    if len(pictures) != len(prompts) or not pictures:
        raise UserError(f"score needs one prompt a picture, got {len(pictures)} pictures and {len(prompts)} prompts")


def _fit_one(picture: Picture, size: int, centre: Centre) -> Picture:
    height, width = _shorter_to(size, picture.height, picture.width)
    if (width, height) != picture.size:
        picture = picture.resize((width, height), Resampling.BICUBIC)
    left, top = centre(width - size), centre(height - size)
    return picture.crop((left, top, left + size, top + size))


def _resize(image: Tensor, height: int, width: int) -> Tensor:
    if (height, width) == tuple(image.shape[-2:]):
        return image
    return F.interpolate(image, (height, width), mode="bicubic", antialias=True)


def _shorter_to(size: int, height: int, width: int) -> tuple[int, int]:
    """Height and width: the shorter side becomes ``size``, the longer one keeps the aspect ratio, rounded down."""
    if height <= width:
        return size, int(size * width / height)
    return int(size * height / width), size
