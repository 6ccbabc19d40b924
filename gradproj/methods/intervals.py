"""Confidence sets instead of equalities (NoiseTilt, arXiv 2606.18066): order statistics where white noise has them.

A latent of N entries is cut into M tiles of D. Each tile is sorted, then the j-th smallest entries of all tiles are
sorted, for every j. The r-th of those is an order statistic of order statistics, so its quantiles are known, and for
white noise it lies between two of them with a chosen probability. A latent is moved by sorting, clipping to these
intervals and putting the entries back where they came from. The energies of the tiles are treated in the same way,
before their entries; and all of it is done to the real and imaginary parts of the compact spectrum, and then to the
latent itself. Real white noise is left where it is, but for the few entries beyond their quantiles.
"""

import math
from functools import lru_cache, partial
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from gradproj.spectrum import compact, expand, peaks
from gradproj.types import Method, OptimizerMaker, Positive, projected


def method(
    optimizer: OptimizerMaker,
    clip: Positive,
    tile: Annotated[int, Ge(2)],
    significance: Annotated[float, Gt(0), Lt(1)],
    project_gradient: bool,
    project_latent: bool,
) -> Method:
    """``tile`` is D, and ``significance`` the probability with which an entry of white noise is outside its interval.

    The set is not free of scale, so the gradient is scaled to rms 1 before it is projected.
    """
    onto_set = partial(confine, tile=tile, significance=significance)

    def direction(gradient: Tensor) -> Tensor:
        scaled = gradient.flatten(1) / peaks(gradient)
        return onto_set(scaled / scaled.square().mean(dim=1, keepdim=True).sqrt()).view_as(gradient)

    return projected(optimizer, clip, direction if project_gradient else None, onto_set if project_latent else None)


@torch.no_grad()
def confine(x: Float[Tensor, "b *latent"], tile: int = 32, significance: float = 1e-4) -> Float[Tensor, "b *latent"]:
    """Each sample moved into the intervals, first in the compact spectrum, then entry by entry.

    ``x`` is float32 or float64. ``tile`` divides N, which is even. Raises ``ValueError`` for a dtype or size that does
    not fit, and for a sample that is all zero or not finite.
    """
    peaks(x)
    n = x[0].numel()
    if tile < 2 or n % tile:
        raise ValueError(
            f"{n} latent entries are not cut into tiles of {tile}: choose a tile of at least 2 that divides them"
        )
    parts = torch.view_as_real(compact(x)).flatten(1) * math.sqrt(2)  # N reals, each N(0, 1) for white noise
    parts = _confine(parts, tile, significance) / math.sqrt(2)
    flat = expand(torch.view_as_complex(parts.unflatten(1, (-1, 2))))
    return _confine(flat, tile, significance).view_as(x)


def _confine(flat: Float[Tensor, "b n"], tile: int, significance: float) -> Float[Tensor, "b n"]:
    """The tiles' energies, then their entries, into the intervals of N(0, 1)."""
    tiles = flat.unflatten(1, (-1, tile))
    energies, values = _bounds(tiles.shape[1], tile, significance, flat.dtype, flat.device)
    return clip_values(clip_energies(tiles, *energies), *values).flatten(1)


def clip_energies(
    tiles: Float[Tensor, "b m d"], low: Float[Tensor, " m"], high: Float[Tensor, " m"]
) -> Float[Tensor, "b m d"]:
    """The nearest tiles whose squared norms, sorted, lie between ``low`` and ``high``; a zero tile becomes constant."""
    energy = tiles.square().sum(dim=2)
    ranked, order = energy.sort(dim=1, stable=True)
    wanted = torch.empty_like(energy).scatter_(1, order, ranked.clamp(low, high))
    there = energy >= torch.finfo(energy.dtype).tiny
    factor = (wanted / energy.where(there, tiles.shape[2])).sqrt()[:, :, None]
    return tiles.where(there[:, :, None], 1) * factor


def clip_values(
    tiles: Float[Tensor, "b m d"], low: Float[Tensor, "m d"], high: Float[Tensor, "m d"]
) -> Float[Tensor, "b m d"]:
    """Entries clipped where they stand in the sorted table: each tile sorted, then each column over the tiles.

    No tiles whose table lies between ``low`` and ``high`` are nearer. Where clipping leaves the entries of each tile in
    order, the result's table lies there; where it does not, some of it is a little outside.
    """
    rows, in_row = tiles.sort(dim=2, stable=True)
    table, in_column = rows.sort(dim=1, stable=True)
    rows = torch.empty_like(table).scatter_(1, in_column, table.clamp(low, high))
    return torch.empty_like(tiles).scatter_(2, in_row, rows)


@lru_cache(maxsize=8)
def _bounds(m: int, d: int, significance: float, dtype: torch.dtype, device: torch.device):
    """((low, high) of the energies, (low, high) of the values), as tensors; 65,536 of them take some milliseconds."""
    pairs = energy_bounds(m, d, significance), value_bounds(m, d, significance)
    return [[torch.from_numpy(bound).to(device, dtype) for bound in pair] for pair in pairs]


def energy_bounds(m: int, d: int, significance: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the r-th smallest of m chi-square variables of d degrees of freedom lies, r = 1..m: low and high, (m,)."""
    rank = np.arange(1, m + 1)
    below = special.betaincinv(rank, m - rank + 1, significance / 2)
    above = special.betaincinv(m - rank + 1, rank, significance / 2)  # of the upper tail: near 1 digits would be lost
    return 2 * special.gammaincinv(d / 2, below), 2 * special.gammainccinv(d / 2, above)


def value_bounds(m: int, d: int, significance: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the r-th smallest over m tiles of the j-th smallest of d normal variables lies: low and high, (m, d).

    low[r, j] = Phi^-1(I^-1(I^-1(significance / 2; r, m - r + 1); j, d - j + 1)), with the inverse I^-1 of the
    regularised incomplete beta function; high has 1 - significance / 2 there, and is the mirror image of low.
    """
    rank, place = np.arange(1, m + 1)[:, None], np.arange(1, d + 1)[None]
    among_tiles = special.betaincinv(rank, m - rank + 1, significance / 2)
    low = special.ndtri(special.betaincinv(place, d - place + 1, among_tiles))
    return low, -low[::-1, ::-1].copy()
