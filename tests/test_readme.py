"""README and the other pages: their Python runs, their links lead somewhere, their lines wrap."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("gradproj/**/*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def test_the_python_of_the_readme_runs() -> None:
    projection, program = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    latent = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    latent.square().sum().backward()
    exec(projection, {"latent": latent})
    assert latent.grad is not None
    for projected in (latent, latent.grad):
        torch.testing.assert_close(projected.detach().flatten(1).square().sum(1), torch.full((2,), 256.0))
    made: dict = {}
    exec(program, made)
    assert {"model", "method", "rewards"} == made["made"].keys()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere_and_lines_wrap(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert not [link for link in links if link and not (page.parent / link).exists()]
    long = [line for line in text.splitlines() if len(line) > 120 and not re.match(r"\s*\||.*\]\(|.*://", line)]
    assert not long
