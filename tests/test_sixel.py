"""Sixels, read by the manual's own description, and the question to the terminal on a pseudo-terminal."""

import io
import os
import random
import re
import sys

import numpy as np
import pytest
from PIL import Image as Pillow

from gradproj.runs import sixel


def png(picture: Pillow.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def decoded(codes: str) -> np.ndarray:
    """(H, W, 3) in [0, 1], as a terminal draws it: ! repeats, $ goes back to the left, - goes down by six pixels."""
    head = re.match(r'\x1bP[\d;]*q"1;1;(\d+);(\d+)', codes)
    assert head and codes.endswith("\x1b\\")
    width, height = int(head[1]), int(head[2])
    canvas, registers = np.full((height, width, 3), np.nan), {}
    x, y, colour = 0, 0, None
    body = codes[head.end() : -2]
    words = list(re.finditer(r"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)([?-~])|([?-~])|([$-])", body))
    assert "".join(word[0] for word in words) == body
    for word in words:
        register, *channels, times, repeated, once, move = word.groups()
        if register:
            colour = int(register)
            if channels[0]:
                registers[colour] = [int(channel) / 100 for channel in channels]
        elif move:
            x, y = 0, y + 6 * (move == "-")
        else:
            bits = ord(repeated or once) - 63
            count = int(times or 1)
            for row in range(6):
                if bits >> row & 1:
                    assert np.isnan(canvas[y + row, x : x + count]).all(), "every pixel is drawn once"
                    canvas[y + row, x : x + count] = registers[colour]
            x += count
            assert x <= width
    return canvas


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 6), (5, 13), (256, 120)])
def test_a_terminal_draws_every_pixel_in_its_colour(width: int, height: int) -> None:
    rng = np.random.default_rng(width)
    few = rng.integers(0, 256, (9, 3), np.uint8)
    pixels = few[np.sort(rng.integers(0, 9, (height, width)))]  # runs of all lengths
    drawn = decoded(sixel.encode(png(Pillow.fromarray(pixels))))
    np.testing.assert_allclose(drawn, pixels / 255, atol=0.0051)


def test_of_more_colours_the_nearest_are_drawn() -> None:
    noise = Pillow.frombytes("RGB", (64, 64), random.Random(0).randbytes(3 * 64 * 64))
    drawn = decoded(sixel.encode(png(noise)))
    assert np.isfinite(drawn).all()
    assert np.abs(drawn - np.asarray(noise) / 255).mean() < 0.1  # a constant colour has 0.25
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 200


@pytest.mark.parametrize(
    ("answer", "understood"),
    [(b"\x1b[?62;4;22c", True), (b"q\x1b[?4c", True), (b"\x1b[?64;14;40c", False), (b"", False), (b"\x1b[?6", False)],
)
def test_the_terminal_is_asked_and_stays_as_it_was(answer: bytes, understood: bool) -> None:
    termios, pty = pytest.importorskip("termios"), pytest.importorskip("pty")
    code = "import termios; from gradproj.runs import sixel; before = termios.tcgetattr(0); said = sixel.understood(); "
    code += "print('understood', said, termios.tcgetattr(0) == before)"
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", code])
    shown = b""
    while b"\x1b[c" not in shown:
        shown += os.read(terminal, 1024)
    assert not termios.tcgetattr(terminal)[3] & termios.ECHO, "what it answers is not seen"
    os.write(terminal, answer)
    while b"\n" not in shown:
        shown += os.read(terminal, 1024)
    os.close(terminal)
    os.waitpid(child, 0)
    assert shown.decode().split("\x1b[c")[1].strip() == f"understood {understood} True"


def test_without_a_terminal_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> int:
        raise OSError("no such device or address: /dev/tty")

    monkeypatch.setattr(os, "open", none)
    assert not sixel.understood()
