"""A run's diversity.csv, from its pictures to the table, beside torch-fidelity and vendi-score on the same features."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from test_diversity import scenes
from torch_fidelity.metric_isc import isc_features_to_metric
from vendi_score import vendi as library

from gradproj.cli.diversity import main as cli
from gradproj.diversity import features as networks
from gradproj.diversity.of_run import of_run
from gradproj.errors import UserError
from gradproj.report import paper
from gradproj.report.build import build
from gradproj.report.choose import find
from gradproj.report.tables import diversity as table
from gradproj.report.writing import markdown
from gradproj.runs import diversity as file
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

pytestmark = pytest.mark.filterwarnings("ignore:Please import `csr_matrix`:DeprecationWarning")


def make(results: Path, method: str = "ours", model: str = "shapes", prompts: int = 3, seeds: int = 4) -> Run:
    config: dict[str, Any] = {
        "names": {"model": model, "method": method, "reward": "aesthetic"},
        **{"protocol": "common", "steps": 1, "keep": "last", "score_every": 1, "model": {}, "reward": "aesthetic"},
        **{"method": {"kind": method}, "rewards": {"aesthetic": {}}, "weights": {"model": {}, "aesthetic": {}}},
        "prompts": [f"prompt {index}" for index in range(prompts)],
    }
    run = Run.create(results, config, {"command": ["gradproj-run", "method=x"]})
    for prompt in range(prompts):
        for seed in range(seeds):
            add(run, prompt, seed)
    return run


def add(run: Run, prompt: int, seed: int) -> None:
    row = {"seconds": 0.0, "reward": 1.0, "gradient_norm": 1.0, "latent_rms": 1.0, "cosine": 1.0, "skipped": 0.0}
    row["gradient_norm"] += 100 * prompt + seed  # no two records are alike
    start, kept = scenes(2, seed=100 * prompt + seed)
    rows = [row | {"step": float(step), "aesthetic": 5.0 + step} for step in (0, 1)]
    run.write(ImageId(prompt, seed), rows, {"start": start, "kept": kept})


def test_the_command_writes_the_numbers_of_the_libraries(tmp_path: Path) -> None:
    run, other = make(tmp_path), make(tmp_path, "none")
    other.start(ImageId(1, 2)).unlink()
    with pytest.raises(UserError, match=r"1 of 24 pictures are not in .*0001-2-start\.png"):
        cli([str(run.folder), str(other.folder)])
    assert not (other.folder / file.NAME).exists()
    found = file.read(run)
    assert found is not None and found.about["features"] == "shapes"
    assert found.about["weights"].keys() == {"classifier.safetensors"}
    pictures = [Pillow.open(path) for path in sorted(run.images.glob("*-start.png"))]
    features, logits = networks.load("shapes")(pictures)
    start = found.sets["start"]
    theirs = [isc_features_to_metric(logits, splits)["inception_score_mean"] for splits in (1, 10)]
    assert [start.inception_score_1, start.inception_score_10] == pytest.approx(theirs, abs=1e-6)
    assert start.vendi == pytest.approx(library.score_X(features.double().numpy()), abs=1e-6)
    each = [library.score_X(features[4 * prompt : 4 * prompt + 4].double().numpy()) for prompt in range(3)]
    assert start.vendi_per_prompt == pytest.approx(np.mean(each), abs=1e-6)
    assert (start.n, start.prompts) == (12, 3) and start != found.sets["kept"]


def test_a_file_that_is_right_stays_and_another_is_moved_aside(tmp_path: Path) -> None:
    run, network = make(tmp_path), networks.load("shapes")
    path = run.folder / file.NAME
    assert of_run(run, "shapes", network)
    first = path.read_bytes()
    assert not of_run(run, "shapes", network) and path.read_bytes() == first
    add(run, 0, 4)
    assert of_run(run, "shapes", network) and path.read_bytes() != first
    assert [old.read_bytes() for old in run.folder.glob(f"{file.NAME}.*")] == [first]
    assert of_run(run, "shapes", network, seed=1) and len(list(run.folder.glob(f"{file.NAME}.*"))) == 2
    path.write_bytes(first[:-30])
    assert of_run(run, "shapes", network) and file.read(run) is not None


def test_numbers_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    run, network = make(tmp_path), networks.load("shapes")
    of_run(run, "shapes", network, batch=5)
    first = file.read(run)
    (run.folder / file.NAME).unlink()
    of_run(run, "shapes", network, batch=12)
    second = file.read(run)
    assert first and second and first.about == second.about
    for name in file.SETS:
        assert vars(first.sets[name]) == pytest.approx(vars(second.sets[name]), abs=1e-4)


def test_a_damaged_or_another_runs_file_is_refused(tmp_path: Path) -> None:
    run, other = make(tmp_path), make(tmp_path, "none")
    of_run(run, "shapes", networks.load("shapes"))
    path = run.folder / file.NAME
    content = path.read_bytes()
    for damaged in (content[:-20], content.replace(b"kept,12", b"kept,13"), b""):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"cut or edited.*gradproj diversity"):
            file.read(run)
    (other.folder / file.NAME).write_bytes(content)
    with pytest.raises(UserError, match="foreign"):
        file.read(other)


def test_a_cut_picture_is_named(tmp_path: Path) -> None:
    run = make(tmp_path)
    path = run.images / "0002-1.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match=r"0002-1\.png is cut"):
        of_run(run, "shapes", networks.load("shapes"))
    assert not (run.folder / file.NAME).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no run given"),
        (("--batch", "0", "x"), "--batch is 1 or more"),
        (("nowhere",), "is no run, it has no config.yaml"),
        (("--prefetch", "--features", "inception", "--weights", "none.pth"), "none.pth cannot be read"),
    ],
)
def test_the_command_refuses_in_a_line(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        cli(list(arguments))


# --- the table


def test_the_table_has_a_row_per_run_and_set(tmp_path: Path) -> None:
    runs = [make(tmp_path, method, "flux") for method in ("ours", "none")]
    (comparison,) = find(tmp_path).comparisons
    assert table.table(comparison).rows == []
    for run in runs:
        of_run(run, "shapes", networks.load("shapes"))
    made = table.table(comparison)
    assert [(line["method"], line["set"]) for line in made.rows] == [
        (method, name) for method in ("none", "ours") for name in ("start", "kept")
    ]
    assert [line["paper_inception_score"] for line in made.rows] == ["21.57-22.33", "", "21.57-22.33", ""]
    assert paper.diversity(comparison, "ours", 200, "kept") == {
        "paper_inception_score": "21.10",
        "paper_vendi": "6.97",
    }  # the paper's are of 200 steps, these of fewer
    found = file.read(runs[0])
    assert found is not None and made.rows[3]["vendi"] == found.sets["kept"].vendi
    lines = markdown("Diversity", [made]).splitlines()
    assert sum("21.57-22.33" in line and "6.42-6.61" in line for line in lines) == 2


def test_a_stale_or_damaged_file_is_named_with_the_command(tmp_path: Path) -> None:
    run, other = make(tmp_path), make(tmp_path, "none")
    for own in (run, other):
        of_run(own, "shapes", networks.load("shapes"))
        for prompt in range(3):
            add(own, prompt, 4)
    (other.folder / file.NAME).write_bytes(b"cut")
    with pytest.raises(UserError) as error:
        build(tmp_path)
    first, second = str(error.value).splitlines()
    assert "cut or edited" in first and "12 images that are not the 15" in second
    assert f"gradproj diversity {run.folder}" in second
