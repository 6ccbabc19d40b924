"""scripts/bench.py and bench_gpu.py: all parts run at tiny sizes, and what they compare computes the same."""

import csv
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_full_size import narrow
from torch import nn

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import bench  # noqa: E402  # pyright: ignore[reportMissingImports]
import bench_gpu  # noqa: E402  # pyright: ignore[reportMissingImports]
from benching import gpu, loops, projection, small, timing  # noqa: E402  # pyright: ignore[reportMissingImports]

from gradproj.execution import compiled  # noqa: E402
from gradproj.spectrum import project  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers and numpy


def test_the_formula_taken_literally_is_the_projection() -> None:
    x = torch.randn(3, 512, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(projection.literal(x), project(x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(projection.round_trip(x), x, rtol=1e-10, atol=1e-10)


def test_ours_climbs_as_far_as_what_has_nothing_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same latents come to the model in both: what is compared is the same work."""
    at, seen = small.small([], 2), list[torch.Tensor]()
    real = at.experiment.model.generate

    def generate(latent: torch.Tensor, condition: Any) -> torch.Tensor:
        seen.append(latent.detach().clone())
        return real(latent, condition)

    monkeypatch.setattr(at.experiment.model, "generate", generate)
    loops.bare(at, 3)
    loops.ours(at, small.method("none", "method.optimizer.lr=0.02", "method.clip=1e9"), 3)
    assert len(seen) == 6
    for one, other in zip(seen[:3], seen[3:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_nothing_of_what_runs_plainly_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = list[list[int]]()

    def count(works: Any, *_: Any) -> Any:
        runs = [works[name].args[0].experiment for name in ("plain", "compiled")]
        runs = [replace(run, rewards={name: run.rewards[name] for name in run.target}) for run in runs]
        blocks.append([sum(one._compiled_call_impl is not None for one in compiled._blocks(run)) for run in runs])
        return dict.fromkeys(works, timing.Timed(1.0, [1.0]))

    monkeypatch.setattr(bench, "in_turn", count)
    bench.compiling(quick=True)
    assert len(blocks) == 3 and all(plain == 0 < fast for plain, fast in blocks), blocks


@pytest.mark.parametrize("part", bench.PARTS)
def test_every_part_puts_its_table_between_its_markers(part: str, tmp_path: Path) -> None:
    file, around = tmp_path / "page.md", "before\n\n<!-- {0} -->\nold\n<!-- /{0} -->\n\nafter\n"
    file.write_text(around.format(part))
    bench.main(["--quick", "--only", part, "--page", str(file)])
    text = file.read_text()
    assert text.startswith(f"before\n\n<!-- {part} -->\n") and text.endswith(f"<!-- /{part} -->\n\nafter\n")
    assert "old" not in text and text.count("\n| ") >= 3 and "commit" in text and "nan" not in text
    assert f"<!-- {part} -->" in bench.PAGE.read_text(), "the committed page has a place for it"


def broken(_: bool) -> Any:
    raise RuntimeError("broken")


def test_a_part_that_fails_keeps_its_old_table_and_the_others_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "PARTS", {"loop": broken, "start": lambda _: (3, [{"command": "new"}])})
    file, parts = (
        tmp_path / "page.md",
        {name: f"<!-- {name} -->\n\nold {name}\n\n<!-- /{name} -->\n" for name in bench.PARTS},
    )
    file.write_text("".join(parts.values()))
    with pytest.raises(SystemExit, match=r"loop failed.*--only loop$"):
        bench.main(["--page", str(file)])
    text = file.read_text()
    assert text.startswith(parts["loop"]) and "| new |" in text and "3 rounds\n" in text and "old start" not in text


def test_what_is_quick_and_what_has_no_place_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, measured = tmp_path / "page.md", list[str]()
    monkeypatch.setattr(bench, "PAGE", file)
    monkeypatch.setattr(bench, "PARTS", {"loop": lambda _: measured.append("loop") or (1, [{"a": "b"}])})
    for absent in (None, "nothing"):
        if absent:
            file.write_text(absent)
        with pytest.raises(SystemExit, match="<!-- loop --> and <!-- /loop -->"):
            bench.main([])
    assert not measured, "before anything is measured"
    file.write_text(before := "<!-- loop -->\nold\n<!-- /loop -->\n")
    bench.main(["--quick"])
    assert measured == ["loop"] and file.read_text() == before


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few iterations, and graphs that are traced but not turned into code, which test_compile.py has."""
    for name, count in {"WARM": 1, "ROUNDS": 1, "PROFILED": 1}.items():
        monkeypatch.setattr(gpu, name, count)
    real = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **told: real(self, **told, backend="eager"))


def test_the_rehearsal_of_the_gpu_has_a_line_for_every_variant(tmp_path: Path) -> None:
    bench_gpu.main(["--device", "cpu", "--minutes", "60", "--to", str(tmp_path)], small=narrow)
    with (tmp_path / "gpu.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = {
        (name, *map(str, vars(one).values())) for name in bench_gpu.MODELS for one in gpu.variants(narrow(name))
    }
    heads = ("model", *vars(gpu.Variant()))
    assert {tuple(row[head] for head in heads) for row in rows} == expected
    for row in rows:
        assert not row.get("failed"), row
        assert float(row["seconds"]) > 0 and float(row["flop"]) > 0 and float(row["ceiling"]) > 1e8, row
    text = (tmp_path / "gpu.md").read_text()
    assert "backward of generator" in text and "## A projection" in text


def test_what_fails_or_has_no_time_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_gpu, "MODELS", ("sd_turbo",))
    monkeypatch.setattr(gpu.Bench, "_decoder", lambda *_: 1 / 0)
    bench_gpu.main(["--device", "cpu", "--to", str(tmp_path)], small=narrow)
    assert (tmp_path / "gpu.md").read_text().count("ZeroDivisionError") == len(gpu.variants(narrow("sd_turbo")))
    bench_gpu.main(["--device", "cpu", "--minutes", "0", "--to", str(tmp_path)], small=narrow)
    assert (tmp_path / "gpu.md").read_text().count("no time was left for it") == len(gpu.variants(narrow("sd_turbo")))
