"""How far runs are, from the records alone. Imports no torch.

An image is recorded, or failed (tried, and to be tried again or given up), or missing; running are those of the last
two that a worker has under way, by its signs of life. A damaged record does not count: it is to be made again. Exit
code 0: all that was wanted is recorded and scored; 1: something is not; 2: a message says what is wrong.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradproj.errors import UserError
from gradproj.runs import progress, scores
from gradproj.runs.folder import Run, find


@dataclass(frozen=True)
class Status:
    """Counts of one run's wanted images, why the failed ones failed (reason of the last attempt -> images)."""

    run: Run
    wanted: int
    recorded: int
    reasons: Counter[str]
    running: int  # images that live workers have under way: part of the missing, or of the failed that are tried again
    unscored: Mapping[str, int]  # reward that is to score afterwards -> images recorded that it has not scored

    @property
    def failed(self) -> int:
        return self.reasons.total()

    @property
    def missing(self) -> int:
        return self.wanted - self.recorded - self.failed

    @property
    def whole(self) -> bool:
        return self.recorded == self.wanted and not self.unscored


def status(run: Run) -> Status:
    """Look at one run. Records of prompts that it does not have are not counted; the table refuses them."""
    prompts = len(run.config["prompts"])
    recorded = {image for image in run.recorded() if image.prompt < prompts}
    seeds = max([1, progress.asked(run), *(1 + image.seed for image in recorded)])
    reasons = Counter(lines[-1] if lines else "no reason given" for lines in progress.failures(run).values())
    wanted = prompts * seeds
    running = min(progress.running(run), wanted - len(recorded))
    unscored = scores.unscored(run, progress.asked_after(run), recorded)
    return Status(run, wanted, len(recorded), reasons, running, unscored)


def page(every: Sequence[Status], strays: Sequence[Path], results: Path) -> str:
    """A line per run; below it the reasons of the failures, scores that lack and folders that are no runs."""
    width = max([3, *(len(one.run.folder.name) for one in every)])
    lines = [f"{'run':<{width}}  recorded  failed  missing  running"]
    for one in every:
        counts = f"{one.recorded:>8}  {one.failed:>6}  {one.missing:>7}  {one.running:>7}"
        lines.append(f"{one.run.folder.name:<{width}}  {counts}")
    total = f"{sum(one.recorded for one in every)} of {sum(one.wanted for one in every)} images recorded"
    lines += ["", f"{total} in {len(every)} runs; logs of sweeps are in {results / 'logs'}"]
    for one in every:
        for reward, count in one.unscored.items():
            lines.append(f"{one.run.folder.name}: {count} images not yet scored by {reward}")
        for reason, count in one.reasons.most_common(5):
            lines.append(f"{one.run.folder.name}: {count} failed: {reason[:200]} (see {one.run.images}/*.failed)")
    lines += [f"{path} has images but no config.yaml: not counted; restore it or move it away" for path in strays]
    if not all(one.whole for one in every):
        lines.append("the same commands finish what is missing")
    return "\n".join(lines)


def look(results: Path) -> tuple[str, bool]:
    """The page, and whether all that was wanted is there; ``UserError`` where nothing ever began."""
    runs, strays = find(results)
    if not any((results / "runs").glob("[!.]*")):
        raise UserError(
            f"{results / 'runs'} holds no runs: give the folder that holds runs/, or type gradproj run first"
        )
    every = [status(run) for run in runs]
    whole = bool(every) and not strays and all(one.whole for one in every)
    return page(every, strays, results), whole
