"""The most bytes of tensors that were on the GPU in each stage of a run, as torch counts them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

Stage = Callable[[str], AbstractContextManager[None]]


def unmeasured(name: str) -> AbstractContextManager[None]:
    """A ``Stage`` of which nothing is to be known."""
    return nullcontext()


class Peaks:
    """``with peaks("load"):`` measures a stage on ``device``; ``bytes`` has what was seen: nothing on a processor."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes: dict[str, int] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begin(self.device)
        try:
            yield
        finally:
            found = most(self.device)
            if found is not None:
                self.bytes[name] = max(found, self.bytes.get(name, 0))


def begin(device: torch.device) -> None:
    """From now on the peak counts."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def most(device: torch.device) -> int | None:
    """The peak since ``begin``, in bytes; None where there is no GPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
