"""How well a caption explains a picture: search the renderings of the caption for the one nearest to it.

Nothing here is learnt, so that an optimiser finds nothing to fool. A scene is a ground with objects on it. For a given
position, size and shade of an object the best ground is a least-squares mean, so the search runs over a bank of masks.
Two objects are searched by coordinate descent, which in turn takes the best of one object given the other, and which is
started from either of them.
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
    """The share in [0, 1] of the picture's variance that the best rendering of the caption explains (R squared).

    ``image`` is RGB in [0, 1]; ``first`` and ``second`` are as from ``captions.parse``. A uniform picture has 0.
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


def _descend(target: Tensor, first: int, second: int, nothing: tuple[Tensor, Tensor]) -> float:
    """The least squared error with both objects: ``first`` alone, then each given the other as long as that helps."""
    _, placed = _best(target, first, paired=True, beside=nothing)
    before, error = float("inf"), 1e30
    while error < before:
        before = error
        _, placed_second = _best(target, second, paired=True, beside=placed)
        error, placed = _best(target, first, paired=True, beside=placed_second)
    return error


def _best(
    target: Tensor, index: int, paired: bool, beside: tuple[Tensor, Tensor]
) -> tuple[float, tuple[Tensor, Tensor]]:
    """The best rendering of object ``index`` ``beside`` another (mask, colour): its squared error, and (mask, colour).

    A mask is (pixels,) in [0, 1], and ``target`` (3, pixels).
    """
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
    row, shade = divmod(best, len(SHADE_STEPS))
    return float(error.flatten()[best]), (masks[row], colours[shade])


@cache
def _bank(shape: int, paired: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Masks (K, pixels) of a shape in some sizes, shifted by whole pixels; their areas (K,) and squared norms (K,)."""
    low, high = RADIUS_PAIRED if paired else RADIUS_ALONE
    places = []
    for radius in torch.linspace(low, high, 5 if paired else 8).tolist():
        line = torch.linspace(radius, SIZE - radius, round(SIZE - 2 * radius) + 1)
        x, y = torch.meshgrid(line, line, indexing="xy")
        places.append(torch.stack([x.flatten(), y.flatten(), torch.full((x.numel(),), radius)], dim=1))
    x, y, radius = torch.cat(places).unbind(1)
    masks = coverage(torch.full((len(x),), shape), torch.stack([x, y], 1), radius).flatten(1)
    return masks, masks.sum(1), masks.square().sum(1)
