"""How many processor threads a run computes with."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

SMALL = 4 * 64 * 64  # numbers in the latent of the smallest published model here, SD-Turbo at 512 px


@contextmanager
def chosen(threads: int | None, latent_shape: Sequence[int]) -> Iterator[int]:
    """Let torch compute with so many threads inside of the block; answers their number.

    None leaves the choice to torch, but for a latent below SMALL takes one thread: the operations on it last some
    microseconds, and every one would wait for its slowest thread, beside a busy core for milliseconds.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or (1 if math.prod(latent_shape) < SMALL else before))
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
