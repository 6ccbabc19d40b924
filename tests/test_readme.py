"""README and the other pages: their Python runs, their links lead somewhere, their lines wrap."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("gradproj/**/*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def python(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


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
