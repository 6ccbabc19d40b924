"""The files that runs need: found out from their settings, and settled before the first byte is fetched."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from gradproj.errors import NotHere, UserError
from gradproj.execution.settings.parts import parts
from gradproj.pretrained.survey import Asked, survey


def needed(runs: Iterable[Mapping[str, Any]]) -> tuple[Asked, list[str]]:
    """What the models and rewards of ``runs`` (settings) ask for, each once; and why parts of them cannot be made."""
    refused: dict[str, None] = {}
    with survey() as asked:
        for settings in runs:
            try:
                with suppress(NotHere):  # what is asked for is noted, and not given
                    parts(settings)
            except UserError as error:
                refused[str(error)] = None
    return asked, list(refused)


def settle(runs: Iterable[Mapping[str, Any]], arguments: Sequence[str]) -> None:
    """``UserError`` where what ``runs`` need is not all here and cannot be fetched; nothing is fetched.

    ``arguments``: what was typed for them. A part that cannot be made is left for the run to tell.
    """
    asked, _ = needed(runs)
    if asked.requests or asked.addresses:
        from gradproj.pretrained import outlook, settle

        settle.settle(outlook.look(asked), f"gradproj fetch {shlex.join(arguments)}".rstrip())
