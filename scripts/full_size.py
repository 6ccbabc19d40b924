"""What each published model costs at its real size, without its weights: full_size.py [--device meta|cpu].

meta (the default) counts parameters, FLOPs and bytes through our own model classes, on any machine in 15 minutes, and
what stands beside them: the rewards (rewards.csv) and the text encoders (text_encoders.csv).
cpu runs one iteration of SD-Turbo in float32, which takes 14 GB of memory and some minutes.
On a GPU ``make bench-gpu`` measures.
The results are in results/full_size/<table or cpu>.{md,csv}.
"""

import argparse
from itertools import product
from pathlib import Path

import torch
from counting import report
from counting.beside import rewards, text_encoders
from counting.build import sizes
from counting.table import counted, measured, measured_table

from gradproj.files import place
from gradproj.pretrained.recompute import POLICIES
from gradproj.report.writing import csv

RESULTS = Path(__file__).parents[1] / "results" / "full_size"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("meta", "cpu"), default="meta")
    device = torch.device(parser.parse_args().device)
    rows = []
    for size in sizes():
        if device.type == "meta":
            decoders = ("full", "tiny") if size.tiny else ("full",)
            rows += [
                counted(size, *policies, decoder=one) for one in decoders for policies in product(POLICIES, POLICIES)
            ]
        elif size.name == "sd_turbo":
            rows += [measured(size, device, "none", rounds=1, warm=0, dtype="float32")]
    if device.type == "meta":
        for beside, counts in {"rewards": rewards(), "text_encoders": text_encoders()}.items():
            place(RESULTS / f"{beside}.csv", csv(counts).encode())
    name = "table" if device.type == "meta" else device.type
    text = report.counts(sizes(), rows) if device.type == "meta" else measured_table(rows)
    RESULTS.mkdir(parents=True, exist_ok=True)
    place(RESULTS / f"{name}.csv", csv(rows).encode())
    place(RESULTS / f"{name}.md", report.page(name, device, text).encode())
    print(text)


if __name__ == "__main__":
    main()
