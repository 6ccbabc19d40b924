"""What several test modules share: the console command, composed configs, generators, and one thread per process.

The suite runs in as many processes as there are cores, and the commands it starts are more: threads beside them would
only wait for each other.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import DictConfig

from gradproj import cli
from gradproj.runs.environment import COMMAND
from gradproj.runs.folder import Run

CONFIGS = Path(__file__).parents[1] / "configs"
Compose = Callable[..., DictConfig]
GRADPROJ = (sys.executable, "-m", "gradproj")  # the console command, of the tree under test


class Said(NamedTuple):
    """What the console command answered."""

    code: int
    out: str
    err: str


Gradproj = Callable[..., Said]


@pytest.fixture
def gradproj(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Gradproj:
    """``gradproj("plan", "steps=0", folder=tmp_path)``: the console command in a folder, within this process."""

    def typed(*arguments: object, folder: Path | None = None) -> Said:
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
        monkeypatch.setenv(COMMAND, "null")
        monkeypatch.setattr(sys, "argv", ["gradproj"])
        if folder:
            monkeypatch.chdir(folder)
        capfd.readouterr()
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse's and Hydra's own
            code = end.code if isinstance(end.code, int) else 0
        said = capfd.readouterr()
        return Said(code, said.out, said.err)

    return typed


os.environ["OMP_NUM_THREADS"] = "1"  # for the commands that tests start
torch.set_num_threads(1)


def names_of(run: Run) -> set[str]:
    """The images that a run has recorded, as their files are called."""
    return {str(image) for image in run.recorded()}


@pytest.fixture
def compose() -> Compose:
    """``compose("method=ours", ...)``: what gradproj-run would be given by these overrides."""

    def one(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return hydra_compose("config", list(overrides))

    return one


@pytest.fixture
def generators() -> Callable[[int], list[torch.Generator]]:
    """``generators(b)``: b generators, the i-th always in the same state."""
    return lambda count: [torch.Generator().manual_seed(1000 + index) for index in range(count)]


@pytest.fixture(scope="module")
def no_waiting() -> Iterator[None]:
    """Files are placed without waiting for the disk: for tests that write thousands of records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright; a test is skipped where one of the two is missing."""
    api = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs a browser: apt-get install chromium")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=flags, timeout=120_000)
        yield started
        started.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, no_waiting: None) -> tuple[Path, dict[str, Run]]:
    """A results folder with several runs and their report page, and the runs by name."""
    from page_records import several

    results = tmp_path_factory.mktemp("a <b> folder")
    return results, several(results)


@pytest.fixture
def tab(browser: Any, runs: tuple[Path, dict[str, Run]]) -> Iterator[Any]:
    """The report page of ``runs`` in a tab, which may not complain until the test is over."""
    from browsing import opened

    tab = opened(browser, runs[0])
    yield tab
    assert tab.problems == []
    tab.context.close()
