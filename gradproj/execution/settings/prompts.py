"""The prompts of a run, read from where the person said. No torch, so it answers at once."""

import json
import shlex
from pathlib import Path

from gradproj.errors import UserError

LARGEST = 100_000_000  # bytes of a prompt file: about a million prompts


def read_prompts(prompts: str | list[str], folder: Path) -> list[str]:
    """A list as it is, or the lines of the named set ``folder/<name>.txt`` or a text file. Position = prompt id."""
    if isinstance(prompts, list):
        lines, source = list(prompts), "prompts=[...]"
    else:
        named = folder / f"{prompts}.txt"
        source = str(named) if len(prompts) < 100 and named.is_file() else prompts
        lines = _lines(source, prompts, folder)
    if lines in ([], [""]):
        raise UserError(f"{source} holds no prompt; write one per line")
    blank = [number for number, line in enumerate(lines, 1) if not line.strip()]
    if blank:
        raise UserError(
            f"{source}: prompt {blank[0]} is blank; every line is a prompt and its number the prompt's id: remove it"
        )
    return lines


def _lines(source: str, typed: str, folder: Path) -> list[str]:
    path = Path(source)
    try:
        status = path.stat()
        if not path.is_file():
            raise UserError(f"prompts={typed} is a folder, a pipe or a device, expected {_accepted(typed, folder)}")
        if status.st_size > LARGEST:
            raise UserError(
                f"prompts={typed} has {status.st_size:,} bytes, a prompt file at most {LARGEST:,}: is it text?"
            )
        return path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"the prompt file {source} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"prompts={typed}: no such set or readable file ({reason}), expected {_accepted(typed, folder)}"
        ) from error


def _accepted(typed: str, folder: Path) -> str:
    """What ``prompts`` may be, with what was ``typed`` as a prompt."""
    itself = shlex.quote(f"prompts=[{json.dumps(typed[:80], ensure_ascii=False)}]")
    sets = sorted(path.stem for path in folder.glob("*.txt"))
    fetch = "; type: gradproj prompts fetch" if typed == "t2i" else ""
    return f"a text file, a list of prompts such as {itself}, or a set; the sets are {', '.join(sets)}{fetch}"
