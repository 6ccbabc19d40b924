"""scripts/feasible_set.py against the projection in numpy, and its files."""

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from test_spectrum import plain_project

SCRIPT = str(Path(__file__).parents[1] / "scripts" / "feasible_set.py")


def test_cosines_are_those_of_the_spec_in_numpy() -> None:
    script: Any = runpy.run_path(SCRIPT)
    found = torch.cat(list(script["cosines"](70, 512, 16, 3, torch.device("cpu")))).numpy()
    rng = torch.Generator().manual_seed(3)
    draws = torch.cat([torch.randn(count, 512, generator=rng) for count in (64, 6)]).double().numpy()
    for x, cosine in zip(draws, found, strict=True):
        onto = plain_project(x, 16)
        assert cosine == pytest.approx(x @ onto / np.linalg.norm(x) / np.linalg.norm(onto), abs=1e-5)
    again = torch.cat(list(script["cosines"](70, 512, 16, 3, torch.device("cpu")))).numpy()
    assert np.array_equal(found, again)


def test_the_table_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["feasible_set.py", "--samples", "20", "--entries", "512", "--blocks", "8", "16"])
    sys.argv += ["--device", "cpu", "--write"]
    runpy.run_path(SCRIPT, run_name="__main__")
    table: Any = pd.read_csv(tmp_path / "results" / "feasible_set.csv")
    assert table.block.tolist() == [8, 16] and table.n.tolist() == [20, 20]
    assert (table.minimum < table["mean"]).all() and table["mean"].is_monotonic_increasing
    monkeypatch.setattr(sys, "argv", [*sys.argv[:2], "30", *sys.argv[3:]])  # more samples: rows beside those
    runpy.run_path(SCRIPT, run_name="__main__")
    more: Any = pd.read_csv(tmp_path / "results" / "feasible_set.csv")
    assert more.n.tolist() == [20, 30, 20, 30] and more.minimum[::2].tolist() == table.minimum.tolist()
    text = (tmp_path / "results" / "feasible_set.md").read_text()
    assert len([line for line in text.splitlines() if line.startswith("| 512 |")]) == 4


def test_blocks_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["feasible_set.py", "--entries", "100", "--blocks", "16"])
    with pytest.raises(SystemExit, match="whose double divides"):
        runpy.run_path(SCRIPT, run_name="__main__")
