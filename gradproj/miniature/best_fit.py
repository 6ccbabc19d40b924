"""How well a caption explains a picture: search the renderings of the caption for the one nearest to it.

Nothing here is learnt, so that an optimiser finds nothing to fool. A scene is a ground with objects on it. For a given
position and size of an object the best ground, which may have a gradient, and the best shade are least squares in
closed form, so the search runs over a bank of masks. Two objects are searched by coordinate descent, which in turn
takes the best of one object given the other, and which is started from either of them.
"""

import warnings
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from gradproj.miniature.captions import ABSENT, SHAPES
from gradproj.miniature.render import COLOUR_TABLE, RADIUS_ALONE, RADIUS_PAIRED, SHADES, SIZE, coverage

PIXELS = SIZE * SIZE
OVERLAP = 0.5  # two objects share at most this many pixels (their anti-aliased rims)
_LINE = torch.linspace(-1, 1, SIZE)
GROUND = torch.stack([torch.ones(SIZE, SIZE), _LINE.expand(SIZE, SIZE), _LINE[:, None].expand(SIZE, SIZE)]).flatten(1)
GROUND_PAIRS = GROUND[:, None] * GROUND[None]  # (3, 3, pixels)


Placed = tuple[Tensor, Tensor]  # an object's mask (pixels,) in [0, 1] and its colour (3,)


def explained(image: Float[Tensor, "3 32 32"], first: int, second: int) -> float:
    """The share in [0, 1] of what a bare ground leaves unexplained that the caption's best rendering does explain.

    ``image`` is RGB in [0, 1]; ``first`` and ``second`` are as from ``captions.parse``. A bare ground, uniform or with
    a linear gradient, has 0.
    """
    target = image.flatten(1)
    bare = float((target - _ground(target, torch.ones(PIXELS))).square().sum())
    if bare < 1e-6 * PIXELS:
        return 0.0
    error, _ = _search(target, first, second, 5e-3 * bare)
    return max(0.0, 1 - error / bare)


def _ground(rest: Tensor, free: Tensor) -> Tensor:
    """The ground (3, pixels) for which ``free`` times it is nearest to ``rest``."""
    seen = free * GROUND
    return torch.linalg.solve(seen @ seen.T, seen @ rest.T).T @ GROUND


def _search(target: Tensor, first: int, second: int, gain: float) -> tuple[float, list[Placed]]:
    """The least squared error of the caption's renderings, and where its objects are."""
    nothing = torch.zeros(PIXELS), torch.zeros(3)
    if second == ABSENT:
        error, placed = _best(target, first, paired=False, beside=nothing)
        return error, [placed]
    tries = (_descend(target, *order, nothing, gain) for order in ((first, second), (second, first)))
    return min(tries, key=lambda found: found[0])


def _descend(target: Tensor, first: int, second: int, nothing: Placed, gain: float) -> tuple[float, list[Placed]]:
    """Both objects: ``first`` alone, then each given the other while the squared error falls by more than ``gain``."""
    _, placed = _best(target, first, paired=True, beside=nothing)
    before, error, other = float("inf"), 1e30, nothing
    while error < before - gain:
        before = error
        _, other = _best(target, second, paired=True, beside=placed)
        error, placed = _best(target, first, paired=True, beside=other)
    return error, [placed, other]


def _best(target: Tensor, index: int, paired: bool, beside: Placed) -> tuple[float, Placed]:
    """The best rendering of object ``index`` ``beside`` another one: its squared error, and where it is.

    ``target`` is (3, pixels). With u = 1 - beside - m, the share of the ground in every
    pixel, and p the three ground functions, the error |rest - c m - u b.p|^2 is quadratic in b, and then in the shade.
    """
    masks, sparse, squares = _bank(index % len(SHAPES), paired)  # m (K, pixels), twice, and <m^2, p p'> (K, 3, 3)
    mask, colour = beside
    rest = target - colour[:, None] * mask  # (3, pixels)
    free = 1 - mask
    colour = COLOUR_TABLE[index // len(SHAPES)]

    sights = (rest[:, None] * GROUND).flatten(0, 1)  # rest p, (9, pixels)
    products = sparse @ torch.cat([sights, (free * GROUND_PAIRS).flatten(0, 1), mask[None]]).T  # one pass over the bank
    seen, shared, overlap = (
        products[:, :9].unflatten(1, (3, 3)),
        products[:, 9:18].unflatten(1, (3, 3)),
        products[:, 18],
    )
    gram = (free.square() * GROUND_PAIRS).sum(2) - 2 * shared + squares  # <u p, u p'>, (K, 3, 3)
    onto_rest = (free * sights).sum(1).view(3, 3) - seen  # <rest, u p>, (K, rgb, 3)
    onto_mask = (shared - squares)[:, 0]  # <m, u p>, (K, 3)
    known = torch.cat([onto_rest, onto_mask[:, None]], dim=1)  # (K, 4, 3)
    solved = torch.linalg.solve(gram, known.transpose(1, 2)).transpose(1, 2)
    rest_left = rest.square().sum(1) - (onto_rest * solved[:, :3]).sum(2)  # (K, rgb): what the best ground leaves
    across = seen[:, :, 0] - (onto_rest * solved[:, 3:]).sum(2)  # of rest, along the mask
    mask_left = squares[:, 0, 0] - (onto_mask * solved[:, 3]).sum(1)  # and of the mask itself, (K,)
    shade = ((across @ colour) / (colour.square().sum() * mask_left)).clamp(*SHADES)[:, None]
    error = (rest_left - 2 * shade * colour * across + (shade * colour).square() * mask_left[:, None]).sum(1)
    error[overlap > OVERLAP] = torch.inf
    best = int(error.argmin())
    return float(error[best]), (masks[best], shade[best] * colour)


@cache
def _bank(shape: int, paired: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Masks (K, pixels) of a shape in some sizes, shifted by whole pixels, and their squares' moments (K, 3, 3).

    The second tensor is the masks without their zeros, seven pixels in eight: the search is a product with it.
    """
    low, high = RADIUS_PAIRED if paired else RADIUS_ALONE
    places = []
    for radius in torch.linspace(low, high, 5 if paired else 8).tolist():
        line = torch.linspace(radius, SIZE - radius, round(SIZE - 2 * radius) + 1)
        x, y = torch.meshgrid(line, line, indexing="xy")
        places.append(torch.stack([x.flatten(), y.flatten(), torch.full((x.numel(),), radius)], dim=1))
    x, y, radius = torch.cat(places).unbind(1)
    masks = coverage(torch.full((len(x),), shape), torch.stack([x, y], 1), radius).flatten(1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        sparse = masks.to_sparse_csr()
    return masks, sparse, (masks.square() @ GROUND_PAIRS.flatten(0, 1).T).unflatten(1, (3, 3))
