"""Pictures for terminals that draw sixels, and the question whether this one does. Imports no torch.

A sixel is six pixels of one colour, one below the other, in a character: DEC's VT330/VT340 manual, chapter 14.
"""

import io
import os
import re
import select
import time
from itertools import groupby

import numpy as np
from PIL import Image as Pillow

COLOURS = 256  # as many as a terminal has registers for
PATIENCE = 1.0  # seconds: every terminal answers at once, but it may be far away


def encode(png: bytes) -> str:
    """The codes that draw this PNG with at most 256 colours, each of its channels in hundredths."""
    with Pillow.open(io.BytesIO(png)) as file:
        picture = file.convert("RGB").quantize(COLOURS)
    indices, palette = np.asarray(picture), np.array(picture.getpalette()).reshape(-1, 3)
    hundredths = np.rint(palette * 100 / 255).astype(int)
    colours = (f"#{index};2;{r};{g};{b}" for index, (r, g, b) in enumerate(hundredths.tolist()))
    bands = (_band(indices[top : top + 6]) for top in range(0, len(indices), 6))
    return f'\x1bP0;1;0q"1;1;{picture.width};{picture.height}{"".join(colours)}{"-".join(bands)}\x1b\\'


def _band(rows: np.ndarray) -> str:
    """At most six rows of colours' indices: for each colour its sixels from left to right, then back to the left."""
    bits = 1 << np.arange(len(rows))[:, None]
    return "$".join(f"#{index}{_run_lengths((bits * (rows == index)).sum(0))}" for index in np.unique(rows))


def _run_lengths(sixels: np.ndarray) -> str:
    runs = ((chr(63 + sixel), len(list(equal))) for sixel, equal in groupby(sixels.tolist()))
    return "".join(f"!{length}{letter}" if length > 3 else letter * length for letter, length in runs)


def understood() -> bool:
    """Whether the terminal of this process says that it draws sixels: number 4 of its device attributes.

    Nothing is asked where there is no terminal, or where another program has its keyboard.
    """
    try:
        import termios
        import tty

        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except (ImportError, OSError):  # on Windows, and in a job of a cluster
        return False
    try:
        if os.tcgetpgrp(terminal) != os.getpgrp():  # in the background it would be stopped
            return False
        before = termios.tcgetattr(terminal)
        try:
            tty.setcbreak(terminal, termios.TCSANOW)
            os.write(terminal, b"\x1b[c")
            return b"4" in _attributes(terminal)
        finally:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
    except (OSError, termios.error):
        return False
    finally:
        os.close(terminal)


def _attributes(terminal: int) -> list[bytes]:
    """What the terminal answers to ``CSI c``: ``CSI ? 62 ; 4 ; 22 c`` is [62, 4, 22]."""
    said, end = b"", time.monotonic() + PATIENCE
    while not (answer := re.search(rb"\x1b\[\?([\d;]*)c", said)):
        if not select.select([terminal], [], [], max(0.0, end - time.monotonic()))[0]:
            return []
        said += os.read(terminal, 1024)
    return answer[1].split(b";")
