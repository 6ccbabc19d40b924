"""``make bench-gpu``: what the published models cost on this GPU, without a network, in under ten minutes.

    python scripts/bench_gpu.py [--minutes 9] [--device cuda] [--to results/full_size]

Random weights at the real sizes. The page (gpu.md) and its numbers (gpu.csv) are written after every part; a part that
fails, or has no time left, is a line in the table.
"""

import argparse
import csv as reader
import signal
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import fill
from typing import Any

import torch
from benching import gpu
from counting import build, page, table

from gradproj.files import place
from gradproj.pretrained.release import release
from gradproj.report.writing import csv

ROOT = Path(__file__).parents[1]
MODELS = ("flux", "sdxl_turbo", "sd_turbo", "sana_sprint_1.6b")
GIB, TERA = 2**30, 10**12
Row = dict[str, Any]
NOTE = """Random weights, 512 px (SANA-Sprint 1024), method ours, the miniature's aesthetic reward, through the loop
that a run uses. *Share* is the work of an iteration in which nothing is computed twice, over the seconds and over what
a matrix product of the same number type reaches in this process. *Predicted* is what the memory planner counts on."""


class Late(Exception):
    """A part took longer than it may."""


class Bench:
    """The rows so far, on the page after every part. ``small``: narrow sizes by name, None: the published ones."""

    def __init__(self, device: torch.device, minutes: float, to: Path, small: Callable[[str], Any] | None) -> None:
        self.device, self.to, self.small = device, to, small
        self.end = time.monotonic() + 60 * minutes
        self.head, self.rows, self.projections = "", list[Row](), list[Row]()

    def run(self) -> None:
        self.head = fill(page.where(self.device), 118)
        with (ROOT / "results" / "full_size" / "table.csv").open(encoding="utf-8", newline="") as file:
            counted = list(reader.DictReader(file))
        load = self.small or (lambda name: build.Size.load(build.SIZES / f"{name}.json"))
        sizes = [load(name) for name in MODELS]
        left = sum(len(gpu.variants(size)) for size in sizes)
        side, ceilings = 256 if self.small else 8192, dict[torch.dtype, float]()
        for size in sizes:
            made: gpu.Bench | None = None
            for variant in gpu.variants(size):
                now, shares = time.monotonic(), 5 if variant.compile else 4 if made is None else 2
                until = min(self.end, now + shares * (self.end - now) / left)  # most take less than their share
                row: Row = {"model": size.name, **vars(variant)}
                try:
                    with _within(until - now):
                        made = made or gpu.Bench(size, self.device, **self.changes, **_policies("none"))
                        dtype = made.model.dtype
                        ceilings[dtype] = ceilings.get(dtype) or gpu.ceiling(self.device, dtype, side)
                        row |= made.measure(variant, until - 5) | {"ceiling": ceilings[dtype]}
                        if variant.quantization == "none":
                            row["predicted_bytes"] = gpu.predicted(self._counted(counted, size, variant), variant.batch)
                    self._project(made.model)
                except Exception as error:  # the next one may go well
                    row["failed"] = " ".join(f"{type(error).__name__}: {error}".split())[:160]
                left -= 1
                self.rows.append(row)
                self.write()
            del made
            release()  # before the next model comes

    @property
    def changes(self) -> Row:
        """Settings that the published sizes do not have."""
        return {"resolution": 64, "dtype": "float32"} if self.small else {}

    def _counted(self, counted: list[dict[str, str]], size: Any, variant: gpu.Variant) -> Any:
        """What was counted of this model on the meta device."""
        if self.small:
            return table.counted(size, **_policies(variant.policy), decoder=variant.decoder, **self.changes)
        wanted = {"model": size.name, "decoder": variant.decoder, **_policies(variant.policy)}
        return next(row for row in counted if wanted.items() <= row.items())

    def _project(self, model: Any) -> None:
        n = torch.Size(model.latent_shape).numel()
        if all(row["N"] != f"{n:,}" for row in self.projections):
            took = {batch: gpu.projection(self.device, n, batch) for batch in (1, 16)}
            row = {"N": f"{n:,}", **{f"batch {batch}, microseconds": f"{1e6 * one:.0f}" for batch, one in took.items()}}
            self.projections.append(row)

    def write(self) -> None:
        """The page and its numbers, as far as they are."""
        flat = [{key: value for key, value in row.items() if key != "phases"} for row in self.rows]
        heads = list(dict.fromkeys(key for row in flat for key in row))
        phases = [{"model": row["model"], **_named(row), **row["phases"]} for row in self.rows if "phases" in row]
        text = [f"# On a GPU\n\n{self.head}\n\n{NOTE}", page.table([_shown(row) for row in self.rows])]
        if phases:
            text += ["## Milliseconds of an iteration, by phase", page.table(_milliseconds(phases))]
        if self.projections:
            text += ["## A projection", page.table(self.projections)]
        self.to.mkdir(parents=True, exist_ok=True)
        place(self.to / "gpu.md", ("\n\n".join(text) + "\n").encode())
        place(self.to / "gpu.csv", csv([{head: row.get(head, "") for head in heads} for row in flat]).encode())


def _policies(policy: str) -> dict[str, str]:
    return dict.fromkeys(("checkpointing", "decoder_checkpointing"), policy)


def _named(row: Row) -> Row:
    """What is not as it is by default, in a word."""
    plain = vars(gpu.Variant())
    changed = [f"{key}={row[key]}" for key, value in plain.items() if row[key] != value]
    return {"variant": ", ".join(changed) or "plain"}


def _shown(row: Row) -> Row:
    seconds, peak, expected = row.get("seconds"), row.get("peak_bytes"), row.get("predicted_bytes")
    share = row["flop"] / seconds / row["ceiling"] if seconds and row.get("flop") else None
    return {
        "model": row["model"],
        **_named(row),
        "s/iteration": f"{seconds:.4f}" if seconds else "",
        "TFLOP": f"{row['flop'] / TERA:.3g}" if row.get("flop") else "",
        "ceiling, TFLOP/s": f"{row['ceiling'] / TERA:.3g}" if "ceiling" in row else "",
        "share": f"{share:.1%}" if share else "",
        "peak GiB": f"{peak / GIB:.2f}" if peak else "",
        "predicted GiB": f"{expected / GIB:.2f}" if expected else "",
        "warm-up s": f"{row['warm_up_seconds']:.0f}" if "warm_up_seconds" in row else "",
        "failed": row.get("failed", ""),
    }


def _milliseconds(rows: list[Row]) -> list[Row]:
    heads = list(dict.fromkeys(key for row in rows for key in row))
    return [
        {head: f"{1000 * row[head]:.2f}" if isinstance(row.get(head), float) else row.get(head, "") for head in heads}
        for row in rows
    ]


class _within:
    """The block is left by ``Late`` after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        def late(*_: object) -> None:
            raise Late(f"not within {self.seconds:.0f} s")

        if self.seconds <= 1:
            raise Late("no time was left for it")
        self.before = signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)


def main(arguments: list[str] | None = None, small: Callable[[str], Any] | None = None) -> None:
    """``small``: narrow sizes by name, for a rehearsal on a processor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--to", type=Path, default=ROOT / "results" / "full_size", help="the folder of gpu.md")
    given = parser.parse_args(arguments)
    if small is None and not (given.device.type == "cuda" and torch.cuda.is_available()):
        raise SystemExit("bench-gpu: torch sees no GPU here (gradproj doctor says why); nothing was measured")
    bench = Bench(given.device, given.minutes, given.to, small)
    bench.run()
    print((given.to / "gpu.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
