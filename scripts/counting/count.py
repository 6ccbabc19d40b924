"""What one iteration computes and keeps, counted on the meta device: shapes and types alone, no numbers."""

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
    """One part of an iteration. ``kept``: bytes that its forward pass leaves for the backward pass."""

    forward: int
    backward: int
    kept: int


@dataclass(frozen=True)
class Count:
    """``peak``: most bytes alive at once beside weights, latent and condition; a multiply-add is two FLOPs."""

    generator: Work
    decoder: Work
    peak: int


def count(model: Any, condition: Any, latent: Tensor) -> Count:
    """One ``generate`` and its gradient with respect to ``latent`` alone, for a gradient of the picture given."""
    with FlopCounterMode(display=False) as flops, gpu_kernels():
        work = _iteration(model, condition, latent, flops.get_total_flops)
    networks = [one for one in model.pipeline.components.values() if isinstance(one, nn.Module)]
    weights = [weight for one in networks for weight in one.parameters()]
    with Live([*weights, latent, *tree_leaves(condition)]) as live, gpu_kernels():
        kept = _iteration(model, condition, latent, lambda: live.now)
    generator = Work(work["generated"], work["end"] - work["decoded back"], kept["generated"])
    decoder = Work(
        work["decoded"] - work["generated"],
        work["decoded back"] - work["decoded"],
        kept["decoded"] - kept["generated"],
    )
    return Count(generator, decoder, live.peak)


def _iteration(model: Any, condition: Any, latent: Tensor, read: Callable[[], int]) -> dict[str, int]:
    """What ``read`` says when the decoder begins and the picture is there, and on the way back, and at the end."""
    marks: dict[str, int] = {}
    decode = model.decoder.decode

    def marked(clean: Tensor, **named: Any) -> Any:
        marks["generated"] = read()
        clean.register_hook(lambda gradient: marks.__setitem__("decoded back", read()))
        return decode(clean, **named)

    latent = latent.detach().requires_grad_()
    gc.disable()  # what is alive must not depend on when the collector runs
    try:
        with patch.object(model.decoder, "decode", marked):
            image = model.generate(latent.view_as(latent), condition)  # the FLOP counter fails on a leaf
        marks["decoded"] = read()
        torch.autograd.grad(image, latent, torch.empty_like(image))
        marks["end"] = read()
    finally:
        gc.enable()
    return marks


class Live(TorchDispatchMode):
    """Bytes of all storages that operators have made and that are still alive; not those of ``given`` tensors.

    A view adds nothing, a buffer inside a kernel and an allocator's rounding are not seen.
    """

    def __init__(self, given: Iterable[Any]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known = weakref.WeakSet[Any]()
        self.known.update(one.untyped_storage() for one in given if isinstance(one, Tensor))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in tree_leaves(result):
            if isinstance(one, Tensor):
                self._see(one.untyped_storage())
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
