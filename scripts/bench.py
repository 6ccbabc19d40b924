"""``make bench``: the tables of docs/performance.md, in about twenty minutes on two quiet cores, half of it compiling.

    python scripts/bench.py [--only PART ...] [--quick] [--page FILE]

What is compared runs in turn in one process with one thread, and a figure is the median of the rounds, with the least
and the most of them in brackets. A table is put into the page as soon as it is there; a part that fails, or that is
interrupted, leaves the table that was there. ``--quick`` takes tiny sizes, to see that all parts run, and prints its
tables only, unless a page is named.
"""

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import Any

import torch
from benching import projection, records, whole
from benching.loops import bare, ours, reno
from benching.small import AGAIN, PROMPT, method, overrides, small
from benching.timing import in_turn, spread
from counting import page

from gradproj.execution.compiled import warm_up, warmed_up
from gradproj.pretrained import clip_tower

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
METHODS = sorted(path.stem for path in (ROOT / "configs" / "method").glob("*.yaml"))


Found = tuple[int, list[dict[str, Any]]]  # rounds, and the rows of a table


def loop(quick: bool) -> Found:
    """Ours against an iteration with nothing around it."""
    rows, rounds = [], 2 if quick else 11
    for name, given in overrides(quick).items():
        for batch in (1, 2) if quick else (1, 4, 16):
            at, none = small(given, batch), method("none")
            steps = 2 if quick else _steps(partial(bare, at))
            works = {"bare": partial(bare, at, steps), "ours": partial(ours, at, none, steps)}
            found = in_turn(works, "bare", rounds)
            ms = f"{1000 * found['bare'].seconds / steps:.1f}"
            rows.append({"model": name, "batch": batch, "bare, ms": ms, "loop over bare": found["ours"].against})
    return rounds, rows


def _steps(work: Callable[[int], object], seconds: float = 0.5) -> int:
    """How many iterations ``work`` gets in a call, so that what is done once a call, not once a step, is little."""
    work(1)
    since = time.process_time()
    work(1)
    return max(1, round(seconds / (time.process_time() - since)))


def methods(quick: bool) -> Found:
    """Every method against none, on the miniature."""
    rounds, batch, steps = (1, 2, 1) if quick else (9, 16, 3)
    at, made = small([], batch), {name: method(name) for name in METHODS}
    found = in_turn({name: partial(ours, at, one, steps) for name, one in made.items()}, "none", rounds)
    ms = {name: f"{1000 * one.seconds / steps / batch:.2f}" for name, one in found.items()}
    return rounds, [
        {"method": name, "ms an image and step": ms[name], "over none": one.against} for name, one in found.items()
    ]


def project(quick: bool) -> Found:
    """The projection against its FFT and inverse, and against its formula taken literally."""
    rows, rounds = [], 2 if quick else 15
    for n in (64, 128) if quick else (3072, 16_384, 65_536, 262_144, 1_048_576):
        for batch in (1, 16):
            calls = 1 if quick else max(1, 2**19 // (n * batch))
            found = in_turn(projection.works(n, batch), "FFT and inverse", rounds, calls)
            ms = {f"{name}, ms": f"{1000 * one.seconds:.3f}" for name, one in found.items()}
            over = {f"{name} over FFT": found[name].against for name in ("projection", "literal")}
            rows.append({"N": f"{n:,}", "batch": batch, **ms, **over})
    return rounds, rows


def yardstick(quick: bool) -> Found:
    """ReNO's iteration beside ours, on the same weights."""
    rows, rounds, steps = [], 1 if quick else 15, 1 if quick else 2
    for name, given in list(overrides(quick).items())[1:]:
        at, again = small(given, 1), small([*given, AGAIN], 1)
        model: Any = again.experiment.model
        encoder = model.embeddings
        texts = encoder.source.load(encoder.parts, encoder.dtype, encoder.device)
        text = partial(texts.encode_prompt, PROMPT, device="cpu", **encoder.settings)
        works = {"ReNO's": partial(reno, again, text, steps), "ours": partial(ours, at, method("ours"), steps)}
        found = in_turn(works, "ReNO's", rounds)
        ms = {f"{form}, ms": f"{1000 * one.seconds / steps:.1f}" for form, one in found.items()}
        rows.append({"model": name, **ms, "ours over ReNO's": found["ours"].against})
    return rounds, rows


def start(quick: bool) -> Found:
    """From the command to its help, and to the first step."""
    works = {
        "gradproj --help": partial(whole.command, "--help"),
        "gradproj run --help": partial(whole.command, "run", "--help"),
        "gradproj run, to its first step": whole.first_step,
    }
    return _commands(works, 1 if quick else 5)


def reading(quick: bool) -> Found:
    """The commands that read many records."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        records.make_all(Path(folder), 1 if quick else 250)
        works = {f"gradproj {verb}": partial(whole.command, verb, *more) for verb, more in records.verbs(folder)}
        return _commands(works, 1 if quick else 3)


def _commands(works: Mapping[str, Callable[[], tuple[float, float]]], rounds: int) -> Found:
    """What each command takes; ``works`` answer wall seconds and a processor's."""
    rows = []
    for name, work in works.items():
        walls, own = zip(*(work() for _ in range(rounds)), strict=True)
        rows.append({"command": name, "s": spread(walls, 2), "s of a processor": spread(own, 2)})
    return rounds, rows


def images(quick: bool) -> Found:
    """Whole images against the loop's own seconds."""
    rows, rounds = [], 1 if quick else 3
    for name, given in overrides(quick).items():
        told = [*given, "score_every=10", f"steps={3 if quick else 60}"]
        count, batch = (2, 1) if quick or name != "shapes" else (16, 16)
        pairs = [whole.images(told, count, batch) for _ in range(rounds)]
        rows.append(
            {
                "model": name,
                "images": count,
                "batch": batch,
                "images an hour": spread([3600 * count / wall for wall, _ in pairs], 0),
                "wall over loop": spread([wall / own for wall, own in pairs], 3),
            }
        )
    return rounds, rows


def compiling(quick: bool) -> Found:
    """``compile=true`` against an iteration of the same networks without."""
    rows, rounds = [], 1 if quick else 11
    for name, given in overrides(quick).items():
        plain, best = small(given, 1), method("ours")
        ours(plain, best, 1)  # its networks are loaded
        clip_tower._towers.clear()  # else it would share one with what is compiled
        fast = small(given, 1)
        facts = warm_up(fast.experiment, [1])
        if facts["failed"]:
            raise RuntimeError(facts["failed"])
        steps = 1 if quick else _steps(partial(ours, plain, best))
        with warmed_up(fast.experiment, facts):
            works = {"plain": partial(ours, plain, best, steps), "compiled": partial(ours, fast, best, steps)}
            found = in_turn(works, "plain", rounds)
        row = {"model": name, "blocks": facts["blocks"], "plain, ms": f"{1000 * found['plain'].seconds / steps:.1f}"}
        rows.append(row | {"compiled over plain": found["compiled"].against, "warm-up, s": facts["warm_up_seconds"]})
    return rounds, rows


PARTS: dict[str, Callable[[bool], Found]] = {
    "loop": loop,
    "methods": methods,
    "projection": project,
    "reno": yardstick,
    "start": start,
    "records": reading,
    "images": images,
    "compile": compiling,
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="extend", nargs="+", choices=PARTS, default=[], help="these parts alone")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--page", type=Path, help="where the tables go (default: docs/performance.md)")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    wanted = [name for name in PARTS if not given.only or name in given.only]
    to = given.page or (None if given.quick else PAGE)
    if to:
        page.check(to, wanted)
    failed = []
    for name in wanted:
        where = page.where(torch.device("cpu"))
        try:
            rounds, rows = PARTS[name](given.quick)
        except Exception:  # the next one may go well
            traceback.print_exc()
            failed.append(name)
            continue
        head = fill(f"{where}; {rounds} round{'s' * (rounds > 1)}", 118)
        text = f"{head}\n\n{page.table(rows)}"
        if to:
            page.put(to, name, text)
        print(f"{name}\n\n{text}\n", flush=True)
    if failed:
        sys.exit(f"bench: {', '.join(failed)} failed, see above; to take it again: --only {' '.join(failed)}")


if __name__ == "__main__":
    main()
