"""Counts what an iteration computes and keeps in memory, on the meta device, which has shapes and types only."""

import gc
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from .kernels import gpu_kernels


@dataclass(frozen=True)
class Work:
    """One network's part of an iteration: FLOPs of both passes, and bytes that the forward pass keeps for the other."""

    forward: int
    backward: int
    kept: int


@dataclass(frozen=True)
class Count:
    """An iteration. ``peak`` is the most bytes at any moment, without weights, latent and condition.

    ``drawn``: the same while a model with ``render`` draws a picture to score, between two iterations; else 0. A
    multiply-add is two FLOPs.
    """

    generator: Work
    decoder: Work
    peak: int
    drawn: int


def count(model: Any, condition: Any, latent: Tensor) -> Count:
    """Count one ``generate`` and the gradient in ``latent`` alone, from a given gradient of the picture."""
    with FlopCounterMode(display=False) as flops, gpu_kernels():
        work = _iteration(model, condition, latent, flops.get_total_flops)
    networks = [part for part in model.pipeline.components.values() if isinstance(part, nn.Module)]
    weights = [weight for network in (*networks, model.decoder) for weight in network.parameters()]
    given = [*weights, latent, *tree_leaves(condition)]
    with Live(given) as live, gpu_kernels():
        kept = _iteration(model, condition, latent, lambda: live.now)
    with Live(given) as drawing, gpu_kernels():
        if getattr(model, "render", None):
            model.render(latent, condition)
    generator = Work(work["generated"], work["end"] - work["decoded back"], kept["generated"])
    decoder = Work(
        work["decoded"] - work["generated"],
        work["decoded back"] - work["decoded"],
        kept["decoded"] - kept["generated"],
    )
    return Count(generator, decoder, live.peak, drawing.peak)


def _iteration(model: Any, condition: Any, latent: Tensor, counter: Callable[[], int]) -> dict[str, int]:
    """What ``counter`` returns at four moments of an iteration.

    They are: when the decoder begins, when the picture is there, when the backward pass leaves the decoder, the end.
    """
    marks: dict[str, int] = {}
    decode = model.decoder.decode

    def marked(clean: Tensor, **named: Any) -> Any:
        marks["generated"] = counter()
        clean.register_hook(lambda gradient: marks.__setitem__("decoded back", counter()))
        return decode(clean, **named)

    latent = latent.detach().requires_grad_()
    gc.disable()  # otherwise the bytes in use would depend on when the garbage collector runs
    try:
        with patch.object(model.decoder, "decode", marked):
            image = model.generate(latent.view_as(latent), condition)  # the FLOP counter fails on a leaf
        marks["decoded"] = counter()
        torch.autograd.grad(image, latent, torch.empty_like(image))
        marks["end"] = counter()
    finally:
        gc.enable()
    return marks


class Live(TorchDispatchMode):
    """The bytes of all storages that operators made and that are still in use, without those of ``given`` tensors.

    A view adds nothing. Buffers inside a kernel and what an allocator rounds up are not seen.
    """

    def __init__(self, given: Iterable[Any]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known = weakref.WeakSet[Any]()
        self.known.update(tensor.untyped_storage() for tensor in given if isinstance(tensor, Tensor))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._see(leaf.untyped_storage())
        return result

    def _see(self, storage: Any) -> None:
        if storage in self.known:
            return
        self.known.add(storage)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self.now -= size
