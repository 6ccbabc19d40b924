"""What a worker's command came to, in numbers and in words."""

from dataclasses import dataclass

from gradproj.runs import progress
from gradproj.runs.folder import Run
from gradproj.runs.naming import Share


@dataclass(frozen=True)
class Outcome:
    """What a worker's command came to. Every count is of this worker's own images."""

    run: Run
    recorded: int
    failed: int  # not recorded yet: the same command tries them again
    given_up: int  # not recorded after max_retries + 1 attempts: the same command leaves them alone
    attempts: int  # the most attempts that one of the images given up has had

    @property
    def unfinished(self) -> str | None:
        """What is to be told where some images are not recorded, with what to type; None where all are."""
        told = []
        if self.failed:
            told.append(f"{self.failed} images failed, and the same command tries them again")
        if self.given_up:
            told.append(
                f"{self.given_up} images are given up after {self.attempts} attempts: "
                f"remove the cause, then type max_retries={self.attempts} to try them once more"
            )
        return "; ".join([*told, f"the reasons are in {self.run.images}/*.failed"]) if told else None


def outcome(run: Run, share: Share, retries: int) -> Outcome:
    """Of the images of ``share``, when the work is over; what failed ``retries`` + 1 times is given up."""
    attempts = [len(lines) for image, lines in progress.failures(run).items() if image in share]
    given_up = [count for count in attempts if count > retries]
    recorded = sum(image in share for image in run.recorded())
    failed = len(share) - recorded - len(given_up)
    return Outcome(run, recorded, failed, len(given_up), max(given_up, default=0))
