"""What a worker does where the GPU's memory does not do: single images, then cheaper policies of the model."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch

from gradproj.runs.naming import ImageId

Attempt = Callable[[Sequence[ImageId], str], None]


class Memory:
    """Asks less and less of a GPU. The cheaper policies that the model has taken stay for the worker's later images."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.policies: list[str] = []

    def fit(self, images: Sequence[ImageId], attempt: Attempt, give_up: Callable[[ImageId, str], None]) -> None:
        """Call ``attempt(images, note)``; where memory does not do, in smaller parts and under cheaper policies.

        A batch is divided into single images; a single image is tried again under the next policy of the model; under
        the cheapest it is handed to ``give_up`` with the reason. ``note`` says how a part is made otherwise than asked,
        "" where it is not.
        """
        waiting = deque([list(images)])
        while waiting:
            part = waiting.popleft()
            shortage = _shortage(attempt, part, self._note(alone=len(part) < len(images)))
            if shortage is None:
                continue
            if len(part) > 1:
                waiting.extend([image] for image in part)
            elif policy := self._cheaper():
                self.policies.append(policy)
                waiting.appendleft(part)
            else:
                give_up(part[0], f"out of memory under the cheapest policy: {shortage}")

    def _cheaper(self) -> str | None:
        """The next policy that the model has taken, None where there is none that is cheaper."""
        return self.model.save_memory() if hasattr(self.model, "save_memory") else None

    def _note(self, alone: bool) -> str:
        changes = (["batch=1"] if alone else []) + self.policies
        return f"out of memory: {': '.join(changes)}" if changes else ""


def _shortage(attempt: Attempt, images: Sequence[ImageId], note: str) -> str | None:
    """What the device says where its memory does not do.

    Only the text is kept: the exception itself would hold the failed attempt's tensors in memory.
    """
    try:
        attempt(images, note)
    except torch.OutOfMemoryError as error:
        return str(error)
    return None
