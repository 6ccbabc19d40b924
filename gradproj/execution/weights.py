"""The files that runs need: found out from their settings, and settled before the first byte is fetched."""

import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from gradproj.errors import NotHere, UserError
from gradproj.execution.settings.parts import parts
from gradproj.pretrained.survey import Asked, survey

PARTS = ("model", "method", "rewards")


def different(runs: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    """Of ``runs`` (settings) one for each choice of parts: the shards of a sweep have the same."""
    return {json.dumps([run[key] for key in PARTS], sort_keys=True, default=str): run for run in runs}.values()


def needed(runs: Iterable[Mapping[str, Any]]) -> tuple[Asked, list[str]]:
    """What the models and rewards of ``runs`` (settings) ask for, each once; and why parts of them cannot be made."""
    refused: dict[str, None] = {}
    with survey() as asked:
        for settings in different(runs):
            try:
                with suppress(NotHere):  # what is asked for is noted, and not given
                    parts({**settings, "device": "cpu"})  # where there is no GPU, too: nothing is computed
            except UserError as error:
                refused[str(error)] = None
    return asked, list(refused)


def settle(runs: Iterable[Mapping[str, Any]], arguments: Sequence[str]) -> None:
    """``UserError`` where what ``runs`` need is not all here and cannot be fetched; nothing is fetched.

    ``arguments``: what was typed for them. A part that cannot be made is left for the run to tell.
    """
    asked, _ = needed(runs)
    _settle(asked, _fetching(arguments))


def coming(runs: Iterable[Mapping[str, Any]], arguments: Sequence[str]) -> list[str]:
    """Lines on what ``runs`` need and is not all here: how much is to be fetched, or why it cannot be; [] where it is.

    Nothing is fetched. ``UserError`` for a part that cannot be made.
    """
    asked, refused = needed(runs)
    if refused:
        raise UserError("\n".join(refused))
    if not asked.requests and not asked.addresses:
        return []
    from gradproj.pretrained import outlook, settle

    seen, command = outlook.look(asked), _fetching(arguments)
    if seen.whole:
        return []
    try:
        settle.settle(seen, command)
    except UserError as error:
        return str(error).splitlines()
    return [f"{seen.coming / 1e9:.2f} GB of files are to be fetched first; {command} does that alone"]


def settle_making(make: Callable[[], object], command: str) -> None:
    """The same of what ``make()`` asks for, which is called and stops where it asks; ``command`` brings it."""
    with survey() as asked, suppress(UserError):  # NotHere among them; others are left for ``make`` itself
        make()
    _settle(asked, command)


def _fetching(arguments: Sequence[str]) -> str:
    return f"gradproj fetch {shlex.join(arguments)}".rstrip()


def _settle(asked: Asked, command: str) -> None:
    if asked.requests or asked.addresses:
        from gradproj.pretrained import outlook, settle

        settle.settle(outlook.look(asked), command)
