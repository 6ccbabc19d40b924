"""Renders captioned scenes: one or two coloured shapes on a tinted ground, 32 x 32 pixels, anti-aliased."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradproj.miniature.captions import ABSENT, COLOURS, OBJECTS, SHAPES

SIZE = 32  # pixels a side
SHADES = (0.75, 1.0)  # an object's colour is its name's colour times a shade in this range
GROUND = (0.28, 0.72)  # grey level of the ground, before its tint
TINT = 0.08  # each channel of the ground departs from its grey level by at most this
RADIUS_ALONE, RADIUS_PAIRED = (6.5, 11.0), (5.0, 7.2)  # in pixels; a triangle's apex and a square's corners reach 1.2 r

PALETTE = {
    "red": (0.90, 0.10, 0.10),
    "orange": (1.00, 0.55, 0.05),
    "yellow": (1.00, 0.95, 0.15),
    "green": (0.10, 0.70, 0.15),
    "blue": (0.10, 0.20, 0.95),
    "purple": (0.60, 0.10, 0.75),
    "white": (1.00, 1.00, 1.00),
    "black": (0.05, 0.05, 0.05),
}
COLOUR_TABLE = torch.tensor([PALETTE[colour] for colour in COLOURS])


def coverage(
    shape: Int[Tensor, " n"], centre: Float[Tensor, "n 2"], radius: Float[Tensor, " n"]
) -> Float[Tensor, "n 32 32"]:
    """The share in [0, 1] of every pixel that the shape covers; ``centre`` (x, y) and ``radius`` are in pixels."""
    axis = torch.arange(SIZE, device=centre.device) + 0.5
    x = axis[None, None, :] - centre[:, 0, None, None]
    y = axis[None, :, None] - centre[:, 1, None, None]
    r = radius[:, None, None]
    distance = torch.hypot(x, y)
    ax, ay = x.abs(), y.abs()
    signed = {
        "circle": distance - r,
        "square": torch.maximum(ax, ay) - 0.88 * r,
        "triangle": torch.maximum(y - 0.6 * r, 0.866 * ax - 0.5 * y - 0.6 * r),
        "ring": (distance - 0.75 * r).abs() - 0.25 * r,
        "cross": torch.minimum(torch.maximum(ax - r, ay - 0.32 * r), torch.maximum(ay - r, ax - 0.32 * r)),
    }
    chosen = torch.stack([signed[name].expand(len(shape), SIZE, SIZE) for name in SHAPES])
    return (0.5 - chosen[shape, torch.arange(len(shape), device=shape.device)]).clamp(0, 1)


def sample_captions(n: int, generator: torch.Generator) -> Int[Tensor, "n 2"]:
    """Random captions as pairs of object indices. Half of them have a single object, and none has an object twice."""
    objects = len(OBJECTS)
    first = torch.randint(objects, (n,), generator=generator)
    second = (first + torch.randint(1, objects, (n,), generator=generator)) % objects
    alone = torch.rand(n, generator=generator) < 0.5
    return torch.stack([first, torch.where(alone, ABSENT, second)], dim=1)


def render(captions: Int[Tensor, "n 2"], generator: torch.Generator) -> Float[Tensor, "n 3 32 32"]:
    """A random scene for each caption, RGB in [0, 1]; ``generator`` draws positions, sizes, shades and ground."""
    n = len(captions)
    paired = captions[:, 1] != ABSENT
    centre, radius = _places(paired, generator)
    grey = _uniform((n, 1), GROUND, generator)
    image = (grey + _uniform((n, 3), (-TINT, TINT), generator))[:, :, None, None].expand(n, 3, SIZE, SIZE)
    for slot in (0, 1):
        index = captions[:, slot].clamp(max=ABSENT - 1)
        colour = COLOUR_TABLE[index // len(SHAPES)] * _uniform((n, 1), SHADES, generator)
        mask = coverage(index % len(SHAPES), centre[:, slot], radius[:, slot])[:, None]
        if slot == 1:
            mask = mask * paired[:, None, None, None]
        image = image * (1 - mask) + colour[:, :, None, None] * mask
    return image


def _uniform(shape: tuple[int, ...], between: tuple[float, float], generator: torch.Generator) -> Tensor:
    low, high = between
    return low + (high - low) * torch.rand(shape, generator=generator)


def _places(paired: Tensor, generator: torch.Generator, tries: int = 32) -> tuple[Tensor, Tensor]:
    """Centres (n, 2, 2) and radii (n, 2) of circles inside the frame. Two do not touch, but for 1 pair in 2,000."""
    n = len(paired)
    alone = _uniform((n, 2), RADIUS_ALONE, generator)
    radius = torch.where(paired[:, None], _uniform((n, 2), RADIUS_PAIRED, generator), alone)
    room = SIZE / 2 - radius
    offset = _uniform((n, tries, 2, 2), (-1.0, 1.0), generator)
    centre = SIZE / 2 + offset * room[:, None, :, None]
    gap = (centre[:, :, 0] - centre[:, :, 1]).norm(dim=-1) - radius.sum(dim=1, keepdim=True)
    apart = (gap > 1.0).to(torch.int8).argmax(dim=1)  # the first try that fits
    return centre[torch.arange(n), apart], radius
