"""Renders captioned scenes: one or two coloured shapes on a ground of any colour, 32 x 32 pixels, anti-aliased.

A scene is a caption and ``NUMBERS`` independent uniform numbers, of which its places, sizes, shades and ground are
continuous functions nearly everywhere, so that a network can learn to draw it.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradproj.miniature.captions import ABSENT, COLOURS, OBJECTS, SHAPES

SIZE = 32  # pixels a side
SHADES = (0.7, 1.0)  # an object's colour is its name's colour times a shade in this range
APART = 0.4  # the ground differs from every object's colour by at least this in some channel, so that all can be seen
GRADIENTS, SLOPE = 0.25, 0.4  # share of grounds with a gradient; each channel's most change across the frame
RADIUS_ALONE, RADIUS_PAIRED = (6.5, 11.5), (5.0, 7.5)  # in pixels; a triangle's apex and a square's corners reach 1.2 r
NUMBERS = 16  # of a scene: ground 3; objects' and gradient's places right 3, and down 3; slopes 3; sizes 2; shades 2

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


OUTSIDE: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {  # the signed distance of (x, y) from the rim
    "circle": lambda x, y, r: torch.hypot(x, y) - r,
    "square": lambda x, y, r: torch.maximum(x.abs(), y.abs()) - 0.88 * r,
    "triangle": lambda x, y, r: torch.maximum(y - 0.6 * r, 0.866 * x.abs() - 0.5 * y - 0.6 * r),
    "ring": lambda x, y, r: (torch.hypot(x, y) - 0.75 * r).abs() - 0.25 * r,
    "cross": lambda x, y, r: torch.minimum(
        torch.maximum(x.abs() - r, y.abs() - 0.32 * r), torch.maximum(y.abs() - r, x.abs() - 0.32 * r)
    ),
}


def coverage(
    shape: Int[Tensor, " n"], centre: Float[Tensor, "n 2"], radius: Float[Tensor, " n"]
) -> Float[Tensor, "n 32 32"]:
    """The share in [0, 1] of every pixel that the shape covers; ``centre`` (x, y) and ``radius`` are in pixels."""
    axis = torch.arange(SIZE, device=centre.device) + 0.5
    covered = axis.new_empty(len(shape), SIZE, SIZE, dtype=torch.result_type(axis, centre))
    for number in shape.unique().tolist():
        these = shape == number
        x, y = (axis - centre[these, at, None] for at in (0, 1))
        outside = OUTSIDE[SHAPES[number]](x[:, None, :], y[:, :, None], radius[these, None, None])
        covered[these] = (0.5 - outside).clamp(0, 1)
    return covered


def sample_captions(n: int, generator: torch.Generator, alone: float = 0.5) -> Int[Tensor, "n 2"]:
    """Random captions as pairs of object indices. The share ``alone`` has one object, and none has an object twice."""
    objects = len(OBJECTS)
    first = torch.randint(objects, (n,), generator=generator)
    second = (first + torch.randint(1, objects, (n,), generator=generator)) % objects
    single = torch.rand(n, generator=generator) < alone
    return torch.stack([first, torch.where(single, ABSENT, second)], dim=1)


def render(captions: Int[Tensor, "n 2"], generator: torch.Generator) -> Float[Tensor, "n 3 32 32"]:
    """A random scene for each caption, RGB in [0, 1]; ``generator`` draws its numbers."""
    return draw(captions, torch.rand(len(captions), NUMBERS, generator=generator))


def draw(captions: Int[Tensor, "n 2"], numbers: Float[Tensor, "n 16"]) -> Float[Tensor, "n 3 32 32"]:
    """The scenes with these numbers in [0, 1], RGB in [0, 1]."""
    ground, across, down, slopes, sizes, shades = numbers.split([3, 3, 3, 3, 2, 2], dim=1)
    paired = captions[:, 1] != ABSENT
    index = torch.where(paired[:, None], captions, captions[:, :1])  # a single object stands in both slots
    shades = torch.where(paired[:, None], shades, shades[:, :1])
    colour = COLOUR_TABLE.to(numbers.device)[index // len(SHAPES)] * _between(shades, SHADES)[:, :, None]
    centre, radius = _places(paired, torch.stack([across[:, :2], down[:, :2]], dim=2), sizes)
    image = _ground(colour, ground, slopes, across[:, 2], down[:, 2])
    for slot in (0, 1):
        mask = coverage(index[:, slot] % len(SHAPES), centre[:, slot], radius[:, slot])[:, None]
        if slot == 1:
            mask = mask * paired[:, None, None, None]
        image = image * (1 - mask) + colour[:, slot, :, None, None] * mask
    return image


def _between(number: Tensor, bounds: tuple[float, float]) -> Tensor:
    low, high = bounds
    return low + (high - low) * number


def _places(paired: Tensor, middle: Float[Tensor, "n 2 2"], sizes: Float[Tensor, "n 2"]) -> tuple[Tensor, Tensor]:
    """Centres (n, 2, 2) and radii (n, 2) of circles inside the frame; two that would touch are pushed apart."""
    radius = torch.where(paired[:, None], _between(sizes, RADIUS_PAIRED), _between(sizes, RADIUS_ALONE))
    low, high = radius[:, :, None], SIZE - radius[:, :, None]
    centre = low + (high - low) * middle
    for _ in range(6):
        way = centre[:, 1] - centre[:, 0]
        length = way.norm(dim=1, keepdim=True)
        short = (radius.sum(1, keepdim=True) + 1 - length).clamp(min=0) * paired[:, None]
        step = short / 2 * way / length.clamp(min=1e-3)
        centre = torch.minimum(torch.maximum(centre + torch.stack([-step, step], dim=1), low), high)
    return centre, radius


def _ground(colour: Tensor, middle: Tensor, slopes: Tensor, right: Tensor, down: Tensor) -> Float[Tensor, "n 3 32 32"]:
    """Grounds of any colour, in the middle ``APART`` from the objects' (n, 2, 3); some have a gradient.

    ``middle`` and ``slopes`` are (n, 3), and ``right`` and ``down``, (n,), say in which direction a gradient goes.
    """
    middle = (1 - torch.cos(torch.pi * middle)) / 2  # vivid grounds are common
    middle = _apart(_apart(middle, colour), colour)  # some need a second channel
    steep = 2 * slopes - 1
    flat = (1 - GRADIENTS) ** (1 / 3)  # the share of channels without a slope
    slope = SLOPE * steep.sign() * (steep.abs() - flat).clamp(min=0) / (1 - flat) / 2
    start, end = ((middle + way * slope).clamp(0, 1)[:, :, None, None] for way in (-1, 1))
    axis = (torch.arange(SIZE, device=middle.device) + 0.5) / SIZE - 0.5
    right, down = (2 * right - 1)[:, None, None], (2 * down - 1)[:, None, None]
    along = (axis * right + axis[:, None] * down) / (right.abs() + down.abs()).clamp(min=1e-3) + 0.5
    return start + (end - start) * along[:, None]


def _apart(ground: Float[Tensor, "n 3"], colour: Float[Tensor, "n 2 3"]) -> Float[Tensor, "n 3"]:
    """The ground itself if it differs by ``APART`` from both objects, else the nearest that differs in one channel."""
    near = ground[:, None] + torch.zeros(13, 1, device=ground.device)  # itself, and a channel moved beside an object's
    for place in range(12):
        slot, channel, way = place // 6, place // 2 % 3, 1 - 2 * (place % 2)
        near[:, place + 1, channel] = colour[:, slot, channel] + way * APART
    differs = (near[:, :, None] - colour[:, None]).abs().amax(3).amin(2)
    lacks = (APART - 1e-6 - differs).clamp(min=0) + (near - near.clamp(0, 1)).abs().sum(2)
    chosen = ((near - ground[:, None]).abs().sum(2) + 100 * lacks).argmin(dim=1)
    return near[torch.arange(len(ground)), chosen].clamp(0, 1)
