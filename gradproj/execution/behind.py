"""Work that goes on behind the loop: one piece after another, in the order in which it was given, in one thread."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Behind:
    """At most ``most`` pieces wait; who gives another one waits for the first of them.

    What a piece raises is raised to its giver, at the next ``do`` or at ``rest``. The pieces after it are done all the
    same: they do not depend on it, and what they have to write would be lost.
    """

    def __init__(self, most: int) -> None:
        self.most, self.thread = most, ThreadPoolExecutor(max_workers=1)
        self.waiting: deque[Future[object]] = deque()

    def do(self, work: Callable[..., object], *arguments: Any) -> None:
        """Have ``work(*arguments)`` done after all that was given before."""
        self.waiting.append(self.thread.submit(work, *arguments))
        while len(self.waiting) > self.most or (self.waiting and self.waiting[0].done()):
            self.waiting.popleft().result()

    def rest(self) -> None:
        """Wait until all is done. Nothing can be given afterwards."""
        self.thread.shutdown()
        while self.waiting:
            self.waiting.popleft().result()
