"""The exceptions whose messages are meant for the person at the keyboard."""

from collections.abc import Callable, Sequence
from typing import Any


class UserError(Exception):
    """What was expected, what came, what to type next; shown without a traceback, exit code 2."""


class Incomplete(Exception):
    """The work is over, but not all of it is recorded: exit code 1. The message says what to do."""


class NotHere(UserError):
    """Files that are not on this machine and cannot be fetched now: why, and the ``commands`` that fetch them."""

    def __init__(self, reasons: Sequence[str], commands: Sequence[str]) -> None:
        self.reasons, self.commands = list(dict.fromkeys(reasons)), list(dict.fromkeys(commands))
        advice = "Fetch all of it where there is a network, into the same cache, with HF_HUB_OFFLINE=0:"
        super().__init__("\n".join([*self.reasons, advice, *(f"    {command}" for command in self.commands)]))


def all_of(*attempts: Callable[[], Any]) -> list[Any]:
    """What each of ``attempts`` answers. Where several lack files, one ``NotHere`` names the files of all."""
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
