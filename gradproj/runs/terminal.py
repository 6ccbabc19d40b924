"""What a terminal is shown: texts that cannot command it, curves as text, and pictures where it can draw them.

Imports no torch.
"""

import base64
import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence

from gradproj.runs import sixel

JOINER = "\u200d"  # it holds an emoji of several together
BLOCKS, PLAIN = "▁▂▃▄▅▆▇█", "_.-=+*%#"  # from the lowest value to the highest
CHUNK = 4096  # characters in one of kitty's escape codes


def printable(text: str) -> str:
    """``text`` in one line, and nothing in it that a terminal obeys.

    Control characters, line ends, marks that turn the direction of writing, and halves of characters are shown as
    Python writes them: ``\\x1b``, ``\\n``, ``\\u202e``.
    """
    return "".join(one if _harmless(one) else one.encode("unicode_escape").decode() for one in text)


def shortened(text: str, width: int) -> str:
    """``printable(text)``, cut to ``width`` characters (at least 4), three dots at its end where it was longer."""
    shown = printable(text)
    return shown if len(shown) <= width else f"{shown[: max(width, 4) - 3]}..."


def spark(values: Sequence[float], width: int, blocks: str = BLOCKS) -> str:
    """A curve as a line of at most ``width`` characters: the first value, the last, and evenly spaced ones between.

    Each is a character of ``blocks``, the lowest for the least of all finite ``values``, the highest for the greatest;
    a blank for what is not finite. A curve that does not move is low.
    """
    count = min(width, len(values))
    shown = [values[round(at * (len(values) - 1) / max(count - 1, 1))] for at in range(count)]
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = (len(blocks) - 1) / (high - low) if high > low else 0.0
    return "".join(blocks[round((value - low) * scale)] if math.isfinite(value) else " " for value in shown)


def bar(share: float, width: int, blocks: str = BLOCKS) -> str:
    """``width`` characters of which a ``share``, from 0 to 1, is full; all of them only where all is done."""
    full = int(min(max(share, 0.0), 1.0) * width)
    return blocks[-1] * full + blocks[0] * (width - full)


def blocks(encoding: str | None) -> str:
    """The characters for ``spark`` that a stream of this encoding can print."""
    try:
        BLOCKS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return PLAIN
    return BLOCKS


def drawing(environment: Mapping[str, str], sixels: Callable[[], bool]) -> Callable[[bytes], str] | None:
    """PNG -> the escape codes with which the terminal draws it; None where it is not known to draw pictures.

    ``environment`` has TERM, TERM_PROGRAM, KITTY_WINDOW_ID and TMUX. A terminal's own name goes before what it has
    inherited. Of any other, and of tmux and screen, ``sixels`` says whether it draws them.
    """
    kind, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if kind in ("", "dumb"):
        return None
    draw = PROGRAMS.get(program) if program else kitty if "kitty" in kind or "KITTY_WINDOW_ID" in environment else None
    if "TMUX" in environment or kind.startswith(("screen", "tmux")):
        draw = None
    return draw or (sixel.encode if sixels() else None)


def kitty(png: bytes) -> str:
    """The codes of kitty's graphics protocol: draw this PNG (a=T, f=100) and answer nothing (q=2), in chunks."""
    text = base64.standard_b64encode(png).decode()
    chunks = [text[at : at + CHUNK] for at in range(0, len(text), CHUNK)]
    codes = []
    for number, chunk in enumerate(chunks):
        first = "a=T,f=100,q=2," if number == 0 else ""
        codes.append(f"\x1b_G{first}m={int(number < len(chunks) - 1)};{chunk}\x1b\\")
    return "".join(codes)


def iterm(png: bytes) -> str:
    """The code of iTerm2's inline images."""
    return f"\x1b]1337;File=inline=1;size={len(png)}:{base64.standard_b64encode(png).decode()}\x07"


PROGRAMS = {"iTerm.app": iterm, "WezTerm": iterm, "ghostty": kitty}  # TERM_PROGRAM -> how it draws


def _harmless(character: str) -> bool:
    return character.isprintable() or character == JOINER or unicodedata.category(character) == "Zs"
