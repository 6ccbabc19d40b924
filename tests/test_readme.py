"""README and the other pages: their commands and their Python run, their links lead somewhere, their lines wrap."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from gradproj.cli import VERBS
from gradproj.execution.settings.compose import compose_run
from gradproj.report.load import typed

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("gradproj/**/*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def python(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def commands() -> list[list[str]]:
    """The words of every indented command of README, without the remarks."""
    lines = re.findall(r"^    (?:\.venv/bin/)?((?:gradproj|make) .+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    return [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]


def test_the_commands_of_the_readme_are_there() -> None:
    programs, verbs = zip(*((program, verb) for program, verb, *_ in commands()), strict=True)
    assert set(programs) == {"make", "gradproj"}
    assert {verb for program, verb in zip(programs, verbs, strict=True) if program == "gradproj"} <= {*VERBS, "--help"}
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {verb for program, verb in zip(programs, verbs, strict=True) if program == "make"} <= set(targets)


@pytest.mark.parametrize("words", [words[2:] for words in commands() if words[1] == "run" and "-m" not in words])
def test_the_runs_of_the_readme_are_understood(words: list[str]) -> None:
    settings, choices = compose_run(words)
    for key, value in (word.split("=", 1) for word in words):
        assert typed(choices.get(key, settings.get(key))) == value or any(mark in key + value for mark in ".[")


def test_the_python_of_the_readme_runs() -> None:
    line, projection = python("README.md")
    latent = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    latent.square().sum().backward()
    exec(projection, {"latent": latent})
    assert latent.grad is not None
    for projected in (latent, latent.grad):
        torch.testing.assert_close(projected.detach().flatten(1).square().sum(1), torch.full((2,), 256.0))
    made: dict = {}
    exec(line, made)
    assert made["made"][0].kept.size == (32, 32)


def test_the_python_of_its_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shared: dict = {}
    *blocks, parts = python("docs/python.md")
    for block in blocks:
        exec(block, shared)
    assert [path.name for path in tmp_path.iterdir()] == ["ring.png"]
    exec(parts, shared)
    assert {"model", "method", "rewards"} == shared["made"].keys()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere_and_lines_wrap(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert not [link for link in links if link and not (page.parent / link).exists()]
    long = [line for line in text.splitlines() if len(line) > 120 and not re.match(r"\s*\||.*\]\(|.*://", line)]
    assert not long
