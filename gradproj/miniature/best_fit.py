"""How well a caption explains a picture: search the renderings of the caption for the one nearest to it.

Nothing is learnt, so nothing can be fooled. A scene is ground + objects; for a given place, size and shade of the
objects the best ground is a least-squares mean, so the search runs over a bank of masks. Two objects: coordinate
descent, each in turn the best given the other, from both starts.
"""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from gradproj.miniature.captions import ABSENT, SHAPES
from gradproj.miniature.render import COLOUR_TABLE, GROUND, RADIUS_ALONE, RADIUS_PAIRED, SHADES, SIZE, TINT, coverage

PIXELS = SIZE * SIZE
SHADE_STEPS = torch.linspace(*SHADES, 6)
OVERLAP = 0.5  # two objects share at most this many pixels (their anti-aliased rims)


def explained(image: Float[Tensor, "3 32 32"], first: int, second: int) -> float:
    """Fraction in [0, 1] of the picture's variance that the best rendering of the caption explains (R squared).

    ``image`` RGB in [0, 1]; ``first``, ``second`` as from ``captions.parse``. A uniform picture scores 0.
    """
    target = image.flatten(1)
    variance = float((target - target.mean(1, keepdim=True)).square().sum())
    if variance < 1e-6 * PIXELS:
        return 0.0
    nothing = torch.zeros(PIXELS), torch.zeros(3)
    if second == ABSENT:
        error, _ = _best(target, first, paired=False, beside=nothing)
    else:
        error = min(_descend(target, *order, nothing) for order in ((first, second), (second, first)))
    return max(0.0, 1 - error / variance)


def _descend(target: Tensor, one: int, other: int, nothing: tuple[Tensor, Tensor]) -> float:
    """Least squared error over both objects: place ``one``, then in turn each given the other, while that helps."""
    _, placed = _best(target, one, paired=True, beside=nothing)
    before, error = float("inf"), 1e30
    while error < before:
        before = error
        _, placed_other = _best(target, other, paired=True, beside=placed)
        error, placed = _best(target, one, paired=True, beside=placed_other)
    return error


def _best(
    target: Tensor, index: int, paired: bool, beside: tuple[Tensor, Tensor]
) -> tuple[float, tuple[Tensor, Tensor]]:
    """Best place, size, shade of one object ``beside`` a placed (mask, colour): squared error, (mask, colour)."""
    masks, area, square = _bank(index % len(SHAPES), paired)
    mask, colour = beside
    rest = target - colour[:, None] * mask  # (3, pixels)
    free = 1 - mask
    colours = COLOUR_TABLE[index // len(SHAPES)] * SHADE_STEPS[:, None]  # (shades, 3)

    products = masks @ torch.cat([rest, mask[None]]).T  # one pass over the bank
    seen, overlap = products[:, None, :3], products[:, 3]  # <rest, m>, (K, 1, 3), and <beside, m>, (K,)
    ground_size = free.square().sum() - 2 * (area - overlap) + square  # |u|^2 of the ground's u = free - m, (K,)
    shared = (area - overlap - square)[:, None, None]  # <m, u>
    onto_ground = (rest @ free)[None, None] - seen - colours * shared  # <rest - c m, u>
    ground = (onto_ground / ground_size[:, None, None]).clamp(GROUND[0] - TINT, GROUND[1] + TINT)
    residual = rest.square().sum(1) - 2 * colours * seen + colours.square() * square[:, None, None]
    error = (residual - 2 * ground * onto_ground + ground.square() * ground_size[:, None, None]).sum(-1)
    error[overlap > OVERLAP] = torch.inf
    best = int(error.argmin())
    place, shade = divmod(best, len(SHADE_STEPS))
    return float(error.flatten()[best]), (masks[place], colours[shade])


@cache
def _bank(shape: int, paired: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Masks (K, pixels) of a shape at every whole-pixel place and some sizes, their areas and their squared norms."""
    low, high = RADIUS_PAIRED if paired else RADIUS_ALONE
    places = []
    for radius in torch.linspace(low, high, 5 if paired else 8).tolist():
        line = torch.linspace(radius, SIZE - radius, round(SIZE - 2 * radius) + 1)
        x, y = torch.meshgrid(line, line, indexing="xy")
        places.append(torch.stack([x.flatten(), y.flatten(), torch.full((x.numel(),), radius)], dim=1))
    x, y, radius = torch.cat(places).unbind(1)
    masks = coverage(torch.full((len(x),), shape), torch.stack([x, y], 1), radius).flatten(1)
    return masks, masks.sum(1), masks.square().sum(1)
