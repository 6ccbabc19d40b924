"""``make bench``: the tables of docs/performance.md, in about ten minutes on two quiet cores.

    python scripts/bench.py [--quick] [--only PART] [--page FILE]

Each figure is a ratio, taken in turn in one process: median, least and most of the rounds. ``--quick`` takes tiny
sizes, to see that all parts run. The parts: loop, methods, projection, reno, start, records, images.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benching import page, projection, records, whole
from benching.loops import bare, ours, reno
from benching.small import CHECKED, PROMPT, method, overrides, small
from benching.timing import in_turn

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
METHODS = sorted(path.stem for path in (ROOT / "configs" / "method").glob("*.yaml"))


def loop(quick: bool) -> str:
    """Ours against an iteration with nothing around it."""
    rows = []
    for name, given in overrides(quick).items():
        for batch in (1, 2) if quick else (1, 4, 16):
            at, none, steps = small(given, batch), method("none"), 2 if quick else max(1, 4 // batch)
            works = {"bare": partial(bare, at, steps), "ours": partial(ours, at, none, steps)}
            found = in_turn(works, "bare", 2 if quick else 11)
            seconds = 1000 * found["bare"].seconds / steps
            rows.append({"model": name, "batch": batch, "bare, ms": f"{seconds:.1f}", "ratio": found["ours"].against})
    return page.table(rows)


def methods(quick: bool) -> str:
    """Every method against none, on the miniature."""
    at, steps = small([], 2 if quick else 16), 1 if quick else 2
    made = {name: method(name) for name in METHODS}
    works = {name: partial(ours, at, one, steps) for name, one in made.items()}
    found = in_turn(works, "none", 1 if quick else 9)
    per_image = {name: 1000 * one.seconds / steps / len(at.images) for name, one in found.items()}
    rows = [
        {"method": name, "ms an image and step": f"{per_image[name]:.2f}", "ratio": one.against}
        for name, one in found.items()
    ]
    return page.table(rows)


def project(quick: bool) -> str:
    """The projection against its FFT and inverse, and against its formula taken literally."""
    rows = []
    for n in (64, 128) if quick else (3072, 16_384, 65_536, 262_144, 1_048_576):
        for batch in (1, 16):
            calls = 1 if quick else max(1, 2**19 // (n * batch))
            works: Any = projection.works(n, batch)
            found = in_turn(works, "round trip", 2 if quick else 15, calls)
            ms = {name: 1000 * one.seconds for name, one in found.items()}
            rows.append(
                {
                    "N": f"{n:,}",
                    "batch": batch,
                    "FFT and inverse, ms": f"{ms['round trip']:.3f}",
                    "projection, ms": f"{ms['projection']:.3f}",
                    "ratio": found["projection"].against,
                    "taken literally": found["literal"].against,
                }
            )
    return page.table(rows)


def yardstick(quick: bool) -> str:
    """ReNO's iteration beside ours, on the same weights."""
    rows = []
    for name, given in list(overrides(quick).items())[1:]:
        at, again = small(given, 1), small([*given, *CHECKED], 1)
        steps = 1 if quick else 2
        model: Any = again.experiment.model
        encoder = model.embeddings
        texts = encoder.source.load(encoder.parts, encoder.dtype, encoder.device)
        best = method("ours")
        text = partial(texts.encode_prompt, PROMPT, device="cpu", **encoder.settings)
        works = {"ReNO's": partial(reno, again, text, steps), "ours": partial(ours, at, best, steps)}
        found = in_turn(works, "ReNO's", 1 if quick else 15)
        ms = {form: f"{1000 * one.seconds / steps:.1f}" for form, one in found.items()}
        rows.append({"model": name, "ReNO's, ms": ms["ReNO's"], "ours, ms": ms["ours"], "ratio": found["ours"].against})
    return page.table(rows)


def start(quick: bool) -> str:
    """From the command to the first step, and to the help."""
    rows = []
    works = {
        "gradproj --help": lambda: whole.command("--help"),
        "gradproj run --help": lambda: whole.command("run", "--help"),
        "gradproj run, to its first step": whole.first_step,
    }
    for name, work in works.items():
        walls, own = zip(*(work() for _ in range(1 if quick else 5)), strict=True)
        rows.append(
            {
                "command": name,
                "s": f"{statistics.median(walls):.2f} ({min(walls):.2f} to {max(walls):.2f})",
                "s of a processor": f"{statistics.median(own):.2f} ({min(own):.2f} to {max(own):.2f})",
            }
        )
    return page.table(rows)


def reading(quick: bool) -> str:
    """The commands that read many records."""
    count, took = records.seconds(1 if quick else 250)
    return page.table([{"records": f"{count:,}", **{f"{name}, s": f"{one:.1f}" for name, one in took.items()}}])


def images(quick: bool) -> str:
    """Whole images against the loop's own seconds."""
    rows = []
    for name, given in overrides(quick).items():
        told = [*given, "score_every=10", f"steps={3 if quick else 60}"]
        count, batch = (2, 1) if quick else (16, 16) if name == "shapes" else (2, 1)
        pairs = [whole.images(told, count, batch) for _ in range(1 if quick else 3)]
        ratios = [wall / own for wall, own in pairs]
        rows.append(
            {
                "model": name,
                "images": count,
                "batch": batch,
                "images an hour": f"{3600 * count / statistics.median(wall for wall, _ in pairs):.0f}",
                "wall over loop": f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
            }
        )
    return page.table(rows)


PARTS: dict[str, Callable[[bool], str]] = {
    "loop": loop,
    "methods": methods,
    "projection": project,
    "reno": yardstick,
    "start": start,
    "records": reading,
    "images": images,
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part alone (may be given more than once)")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the tables go, between their markers")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name in given.only or PARTS:
        text = f"{page.where(torch.device('cpu'))}\n\n{PARTS[name](given.quick)}"
        page.put(given.page, name, text)
        print(f"{name}\n\n{text}\n", flush=True)


if __name__ == "__main__":
    main()
