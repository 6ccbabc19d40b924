"""How far the work is, for who waits: bars on a terminal and in a notebook, else a line a minute, for a log."""

import sys
import time
from collections.abc import Iterable, Iterator

from tqdm.auto import tqdm

from gradproj.optimize import Step
from gradproj.runs.terminal import printable

MINUTE = 60.0  # seconds between two lines
NOTEBOOK = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
HIDDEN = False if NOTEBOOK else None  # None: where there is no terminal


class Display:
    """Of ``images`` images of ``steps`` steps each, that climb what is called ``target``; all of it goes to stderr."""

    def __init__(self, images: int, steps: int, target: str) -> None:
        self.images, self.steps, self.target, self.finished, self.under_way = images, steps, target, 0, 0.0
        self.began = self.told = time.monotonic()
        self.bar = tqdm(total=images, desc="images", disable=HIDDEN, position=0)

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    @property
    def done(self) -> float:
        """How many images are done with, those under way by their share of steps."""
        return self.finished + self.under_way

    def advance(self, images: int) -> None:
        """So many images more are done with."""
        self.finished, self.under_way = self.finished + images, 0.0
        self.bar.update(images)

    def watch(self, steps: Iterable[Step], label: str, images: int) -> Iterator[Step]:
        """``steps`` of a batch of ``images`` as they come, each one shown: the mean reward from the start to now."""
        start, title = 0.0, f"  {printable(label)}"[:60]
        with tqdm(steps, total=self.steps + 1, desc=title, disable=HIDDEN, position=1, leave=False) as bar:
            for step in bar:
                reward = step.reward.mean().item()
                start = reward if step.index == 0 else start
                self.under_way = images * step.index / self.steps
                climb = f"{self.target} {start:.4g} -> {reward:.4g}"
                bar.set_postfix_str(climb, refresh=False)
                if self.bar.disable and time.monotonic() - self.told >= MINUTE:
                    self._tell(f"{climb} at step {step.index} of {self.steps}")
                yield step

    def _tell(self, climb: str) -> None:
        self.told = time.monotonic()
        share = self.done / self.images
        left = (
            f"about {(self.told - self.began) * (1 - share) / share / 60:.0f} min left"
            if share
            else "time left unknown"
        )
        print(f"{self.finished} of {self.images} images done; {climb}; {left}", file=sys.stderr, flush=True)
