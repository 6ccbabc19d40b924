"""How far the work is, for who waits: bars on a terminal and in a notebook, else a line a minute, for a log."""

import sys
import time
from collections.abc import Iterable, Iterator

from tqdm.auto import tqdm

from gradproj.optimize import Step

MINUTE = 60.0  # seconds between two lines
NOTEBOOK = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
HIDDEN = False if NOTEBOOK else None  # None: where there is no terminal


class Display:
    """Of ``images`` images of ``steps`` steps each; bars and lines go to stderr."""

    def __init__(self, images: int, steps: int) -> None:
        self.images, self.steps, self.done = images, steps, 0
        self.began = self.told = time.monotonic()
        self.bar = tqdm(total=images, desc="images", disable=HIDDEN, position=0)

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def advance(self, images: int) -> None:
        """So many images more are done with."""
        self.done += images
        self.bar.update(images)

    def watch(self, steps: Iterable[Step], label: str, images: int) -> Iterator[Step]:
        """``steps`` of a batch of ``images`` as they come, each one shown."""
        start = 0.0
        with tqdm(steps, total=self.steps + 1, desc=f"  {label}"[:60], disable=HIDDEN, position=1, leave=False) as bar:
            for step in bar:
                reward = step.reward.mean().item()
                start = reward if step.index == 0 else start
                bar.set_postfix(reward=f"{reward:.4f}", refresh=False)
                if self.bar.disable and time.monotonic() - self.told >= MINUTE:
                    self._tell(step.index, images, start, reward)
                yield step

    def _tell(self, step: int, images: int, start: float, reward: float) -> None:
        self.told = time.monotonic()
        share = (self.done + images * step / self.steps) / self.images
        left = (
            f"about {(self.told - self.began) * (1 - share) / share / 60:.0f} min left"
            if share
            else "time left unknown"
        )
        rewards = f"reward {start:.4g} at the start, {reward:.4g} at step {step} of {self.steps}"
        print(f"{self.done} of {self.images} images done; {rewards}; {left}", file=sys.stderr, flush=True)
