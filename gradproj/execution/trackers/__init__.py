"""Programs that show a run while it goes, one file each: ``tracker=tensorboard``, ``wandb``, ``trackio``.

A tracker is found through ``_target_`` in its YAML only. Its constructor imports the program, so that a package which
is missing is told before the work begins, and writes nothing.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from PIL.Image import Image as Picture

from gradproj.errors import UserError


@dataclass(frozen=True)
class Snapshot:
    """One image at a scored step.

    ``image`` is its id, such as "0003-1". ``numbers`` are what its record has in the row of this step, those that are
    finite, and ``strip`` is a row of its pictures at the scored steps up to this one, each below its step (8-bit RGB).
    """

    image: str
    prompt: str
    numbers: Mapping[str, float]
    strip: Picture


@runtime_checkable
class Tracker(Protocol):
    """Follows one run after another, offline. What it raises is told once, and the run goes on without it."""

    def start(self, run: str, share: str, config: Mapping[str, Any]) -> None:
        """The run of the id ``run`` begins or goes on; ``share`` tells its workers apart, "" where there is one.

        ``config`` is what the run's config.yaml has, but for the prompts.
        """
        ...

    def log(self, step: int, snapshots: Sequence[Snapshot]) -> None:
        """A batch of images came to a scored step. An image at step 0 begins, or begins again."""
        ...

    def finish(self) -> None:
        """No more comes of this run, whether all is made or the work was stopped."""
        ...


def package(name: str, extra: str) -> Any:
    """The module ``name``; ``UserError`` that says what to type where it cannot be imported."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"tracker={extra} cannot be used here ({reason}): type pip install 'gradproj[{extra}]', or leave it out: "
            "tracker=none"
        ) from error
