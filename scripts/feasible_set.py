"""Does white Gaussian noise lie near the feasible set? ``python scripts/feasible_set.py [--samples 10000] [--write]``

For every block size it takes the cosine of x ~ N(0, I) and its projection, and prints minimum, mean and standard
deviation over n samples. The paper (arXiv 2602.08646, section 4) reports a minimum of .988 over 1.1 million samples at
N = 65,536 and B = 16, which is ``--samples 1100000 --blocks 16`` on a GPU; on a CPU 10,000 samples take minutes.
``--write`` puts the table into results/.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from gradproj.files import place
from gradproj.runs.environment import describe
from gradproj.spectrum import project
from gradproj.types import default_device

BATCH = 64
PAPER = {(65536, 16): 0.988}  # minimum over 1.1 million samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--entries", type=int, default=65_536, help="N of a latent; FLUX at 512 px has 65,536")
    parser.add_argument("--blocks", type=int, nargs="+", default=[4, 8, 16, 32, 64, 128, 256])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default=str(default_device()))
    parser.add_argument("--write", action="store_true", help="to results/feasible_set.{csv,md}")
    given = parser.parse_args()
    if given.samples < 2 or min(given.blocks) < 2 or any(given.entries % (2 * block) for block in given.blocks):
        sys.exit("expected at least 2 samples, and blocks of at least 2 whose double divides the entries")
    device = torch.device(given.device)
    rows = []
    for block in given.blocks:
        values = torch.cat(list(cosines(given.samples, given.entries, block, given.seed, device)))
        row = {"entries": given.entries, "block": block, "n": len(values), "seed": given.seed}
        row |= {"minimum": values.min().item(), "mean": values.mean().item(), "sd": values.std().item()}
        rows.append(row | {"paper_minimum": PAPER.get((given.entries, block), math.nan)})
        print(rows[-1], flush=True)
    if given.write:
        facts = describe(device)
        where = f"{facts['device']}, torch {facts['packages']['torch']}, commit {str(facts['git']['commit'])[:7]}"
        write(pd.DataFrame([row | {"where": where} for row in rows]))


def cosines(samples: int, entries: int, block: int, seed: int, device: torch.device) -> Iterator[torch.Tensor]:
    """The cosine of every draw with its projection, in batches (b,) of float64. All block sizes get the same draws."""
    rng = torch.Generator(device).manual_seed(seed)
    for start in range(0, samples, BATCH):
        x = torch.randn(min(BATCH, samples - start), entries, generator=rng, device=device)
        yield torch.cosine_similarity(x.double(), project(x, block).double(), dim=1).cpu()


def write(found: pd.DataFrame) -> None:
    """Write the CSV and the Markdown file. Rows of other entries, blocks, n or seeds that they have already stay."""
    folder = Path("results")
    folder.mkdir(exist_ok=True)
    path, key = folder / "feasible_set.csv", ["entries", "block", "n", "seed"]
    before = [pd.read_csv(path)] if path.exists() else []
    table = pd.concat([*before, found]).drop_duplicates(key, keep="last").sort_values(key)
    place(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode())
    lines = [
        "# White noise and the feasible set",
        "Cosine of x ~ N(0, I) with its projection. Paper: minimum .988 over 1.1 million samples (N = 65,536, B = 16). "
        "Written by `python scripts/feasible_set.py --write`.",
        "| N | block | n | seed | minimum | mean | sd | paper's minimum | where |\n"
        "|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    row: Any
    for row in table.itertuples():
        paper = "" if math.isnan(row.paper_minimum) else f"{row.paper_minimum}"
        numbers = f"{row.minimum:.5f} | {row.mean:.5f} | {row.sd:.5f}"
        lines[-1] += f"\n| {row.entries} | {row.block} | {row.n} | {row.seed} | {numbers} | {paper} | {row.where} |"
    place(folder / "feasible_set.md", ("\n\n".join(lines) + "\n").encode())


if __name__ == "__main__":
    main()
