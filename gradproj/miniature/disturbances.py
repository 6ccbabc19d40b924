"""What is made wrong on purpose in training, so that the miniature's judges know imperfect captions and pictures."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gradproj.miniature.captions import ABSENT, COLOURS, OBJECTS, SHAPES


def change(captions: Tensor, generator: torch.Generator) -> Tensor:
    """Each caption, (n, 2), with one thing wrong: a colour, a shape, or an object too many or too few."""
    n = len(captions)
    colours, shapes = len(COLOURS), len(SHAPES)
    paired = captions[:, 1] != ABSENT
    slot = (torch.rand(n, generator=generator) < 0.5).long() * paired
    row = torch.arange(n)
    index = captions[row, slot]
    colour, shape = index // shapes, index % shapes
    kind = torch.randint(3, (n,), generator=generator)
    colour = torch.where(kind == 0, (colour + torch.randint(1, colours, (n,), generator=generator)) % colours, colour)
    shape = torch.where(kind == 1, (shape + torch.randint(1, shapes, (n,), generator=generator)) % shapes, shape)
    changed = captions.clone()
    changed[row, slot] = colour * shapes + shape
    other = (captions[:, 0] + torch.randint(1, len(OBJECTS), (n,), generator=generator)) % len(OBJECTS)
    changed[:, 1] = torch.where(kind == 2, torch.where(paired, ABSENT, other), changed[:, 1])
    return changed


def disturb(image: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the pictures, RGB in [0, 1], are blurred by a 3 x 3 box, and half get noise (sd up to 0.1)."""
    n = len(image)
    blurred = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    keep = torch.rand(n, 1, 1, 1, generator=generator).clamp(max=0.5) * 2
    image = keep * image + (1 - keep) * blurred
    strength = 0.2 * (torch.rand(n, 1, 1, 1, generator=generator) - 0.5).clamp(min=0)
    return (image + strength * torch.randn(image.shape, generator=generator)).clamp(0, 1)


def warp(image: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the pictures are bent by a smooth field of displacements, up to about three pixels (sd up to 1)."""
    n, _, height, width = image.shape
    strength = 4 / width * (torch.rand(n, 1, 1, 1, generator=generator) - 0.5).clamp(min=0)
    field = F.interpolate(torch.randn(n, 2, 6, 6, generator=generator), (height, width), mode="bicubic")
    still = F.affine_grid(torch.eye(2, 3).expand(n, 2, 3), [n, 3, height, width], align_corners=False)
    moved = still + (strength * field).permute(0, 2, 3, 1)
    return F.grid_sample(image, moved, padding_mode="border", align_corners=False)


def cover(image: Tensor, generator: torch.Generator) -> Tensor:
    """A third of the pictures have smooth clouds of any colour, from flat to patchy, over a random share of them."""
    n, _, height, width = image.shape
    clouds = torch.stack(
        [
            F.interpolate(torch.randn(n, 4, size, size, generator=generator), (height, width), mode="bicubic")
            for size in (2, 3, 6)
        ]
    )[torch.randint(3, (n,), generator=generator), torch.arange(n)]
    share = (clouds[:, 3:] + 0.5 > 0).float() * (torch.rand(n, 1, 1, 1, generator=generator) < 1 / 3)
    strength = 0.5 + 3 * torch.rand(n, 1, 1, 1, generator=generator)
    level = torch.randn(n, 3, 1, 1, generator=generator)
    return torch.lerp(image, torch.sigmoid(strength * (clouds[:, :3] + level)), share)
