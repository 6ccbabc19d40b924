"""The exceptions whose messages are meant for the person at the keyboard."""

from collections.abc import Callable, Sequence
from typing import Any


class UserError(Exception):
    """Something that a person can put right. The message says what was expected, what came and what to type next.

    It is shown without a traceback, and the exit code is 2.
    """


class Incomplete(Exception):
    """The work has ended, but not all of it is recorded. The message says what to do; the exit code is 1."""


class NotHere(UserError):
    """Files that are not here and cannot be fetched now; ``commands`` fetch them where there is a network."""

    def __init__(self, reasons: Sequence[str], commands: Sequence[str]) -> None:
        self.reasons, self.commands = list(dict.fromkeys(reasons)), list(dict.fromkeys(commands))
        advice = "Fetch all of it where there is a network, into the same cache, with HF_HUB_OFFLINE=0:"
        super().__init__("\n".join([*self.reasons, advice, *(f"    {command}" for command in self.commands)]))


def all_of(*attempts: Callable[[], Any]) -> list[Any]:
    """The results of ``attempts``, in order. If some lack files, a single ``NotHere`` names the files of all."""
    answers, lacking = [], []
    for attempt in attempts:
        try:
            answers.append(attempt())
        except NotHere as error:
            lacking.append(error)
    if lacking:
        reasons = [reason for error in lacking for reason in error.reasons]
        raise NotHere(reasons, [command for error in lacking for command in error.commands])
    return answers
