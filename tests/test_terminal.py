"""What a terminal is shown: texts that cannot command it, curves as text, pictures in its own codes."""

import base64
import io
import math
import random
import re
import unicodedata

import numpy as np
import pytest
from PIL import Image as Pillow
from small_runs import ODD_STRINGS

from gradproj.runs import sixel, terminal

HARMLESS = ("a 'red' \"ring\"", "a/b\\c", "<b>&amp;</b>", "一匹の猫\u3000", "é", "👩‍👩‍👧 and 🏳️‍🌈", "$(rm) `x` %s {}")


def test_no_character_reaches_a_terminal_that_it_would_obey() -> None:
    """By Unicode's own table of categories, over the blocks in which it has marks that do something."""
    for first in (0x0000, 0x2000, 0xD800, 0xF800, 0xFC00, 0x13400, 0x1D000, 0x1F400, 0xE0000):
        characters = [chr(first + offset) for offset in range(1024)]
        shown = iter(terminal.printable("\0".join(characters)).split("\\x00"))
        for one, said in zip([one for one in characters if one != "\0"], filter(None, shown), strict=True):
            assert said == one or re.fullmatch(r"\\([nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})", said)
            commands = unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") and one != "\u200d"
            assert not commands or said != one, hex(ord(one))


@pytest.mark.parametrize("text", HARMLESS)
def test_what_does_no_harm_is_shown_as_it_is(text: str) -> None:
    assert terminal.printable(text) == text


@pytest.mark.parametrize(
    "text", [*ODD_STRINGS, *HARMLESS, "\x1b[2J\x1b]0;title\x07", "\u202eevil", "\udc80", "\x9b31m"]
)
@pytest.mark.parametrize("width", [4, 9, 40])
def test_a_shortened_text_fits_and_is_encoded(text: str, width: int) -> None:
    shown = terminal.shortened(text, width)
    assert len(shown) <= width and "\n" not in shown
    shown.encode("utf-8")
    assert shown == terminal.printable(text) or shown.endswith("...")


@pytest.mark.parametrize("count", [1, 2, 7, 60, 61, 201, 1000])
@pytest.mark.parametrize("blocks", [terminal.BLOCKS, terminal.PLAIN])
def test_a_curve_keeps_its_ends_its_extremes_and_its_order(count: int, blocks: str) -> None:
    values = np.random.default_rng(count).normal(size=count).cumsum()
    shown = terminal.spark(values.tolist(), 60, blocks)
    assert len(shown) == min(60, count)
    chosen = values[np.rint(np.linspace(0, count - 1, min(60, count))).astype(int)]
    levels = np.array([blocks.index(one) for one in shown])
    assert levels[0] == blocks.index(terminal.spark(values.tolist(), count, blocks)[0])
    order = np.argsort(chosen)
    assert (np.diff(levels[order]) >= 0).all()
    if count > 1:
        heights = np.interp(chosen, [values.min(), values.max()], [0, 7])
        assert np.abs(levels - heights).max() <= 0.5 + 1e-9
        whole = terminal.spark(values.tolist(), count, blocks)
        assert whole[values.argmax()] == blocks[7] and whole[values.argmin()] == blocks[0]


def test_a_curve_that_does_not_move_or_is_no_number() -> None:
    assert terminal.spark([2.0] * 5, 9) == "▁" * 5
    assert terminal.spark([math.nan, 1.0, math.inf, 2.0], 9) == " ▁ █"
    assert terminal.spark([math.nan] * 3, 9) == "   " and terminal.spark([], 9) == ""


def test_a_stream_gets_characters_that_it_can_print() -> None:
    for encoding in ("utf-8", "UTF-16", "ascii", "latin-1", "cp1252", None, "nothing"):
        terminal.blocks(encoding).encode("utf-8" if encoding in (None, "nothing") else encoding)
    assert terminal.blocks("utf-8") == terminal.BLOCKS and terminal.blocks("latin-1") == terminal.PLAIN


def picture(side: int) -> bytes:
    """A PNG of noise, which compresses badly."""
    buffer = io.BytesIO()
    Pillow.frombytes("RGB", (side, side), random.Random(side).randbytes(3 * side * side)).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("side", [1, 30, 64, 200])
def test_kittys_codes_hold_the_picture(side: int) -> None:
    """As its specification has it: chunks of at most 4096 characters, all but the last a multiple of four, m=0 ends."""
    codes = terminal.kitty(picture(side))
    chunks = re.findall(r"\x1b_G([^;\x1b]*);([A-Za-z0-9+/=]*)\x1b\\", codes)
    assert "".join(f"\x1b_G{keys};{chunk}\x1b\\" for keys, chunk in chunks) == codes
    keys = [dict(pair.split("=") for pair in one.split(",")) for one, _ in chunks]
    assert keys[0].items() >= {"a": "T", "f": "100"}.items()
    assert [one["m"] for one in keys] == ["1"] * (len(keys) - 1) + ["0"]
    assert all(set(one) == {"m"} for one in keys[1:])
    assert all(len(chunk) <= 4096 for _, chunk in chunks) and not any(len(chunk) % 4 for _, chunk in chunks[:-1])
    assert base64.b64decode("".join(chunk for _, chunk in chunks), validate=True) == picture(side)


def test_iterms_code_holds_the_picture() -> None:
    code = re.fullmatch(r"\x1b\]1337;File=inline=1;size=(\d+):([A-Za-z0-9+/=]+)\x07", terminal.iterm(picture(64)))
    assert code and base64.b64decode(code[2], validate=True) == picture(64) and int(code[1]) == len(picture(64))


@pytest.mark.parametrize(
    ("environment", "draws"),
    [
        ({}, None),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "xterm-kitty"}, terminal.kitty),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, terminal.kitty),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, terminal.iterm),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, terminal.iterm),
        ({"TERM": "xterm-ghostty", "TERM_PROGRAM": "ghostty"}, terminal.kitty),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, None),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode", "KITTY_WINDOW_ID": "1"}, None),  # started from kitty
        ({"TERM": "tmux-256color", "TERM_PROGRAM": "tmux", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "screen", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/x"}, None),
        ({"TERM": "dumb", "TERM_PROGRAM": "iTerm.app"}, None),
    ],
)
def test_only_a_terminal_that_draws_pictures_gets_some(environment: dict[str, str], draws: object) -> None:
    assert terminal.drawing(environment, lambda: False) is draws
    known = draws or not environment or environment["TERM"] == "dumb"  # these are not asked
    assert terminal.drawing(environment, lambda: True) is (draws if known else sixel.encode)
