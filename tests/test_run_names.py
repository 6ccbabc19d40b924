"""What a run is called: by all that changes its numbers, and by nothing else."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import test_command_line as line
from conftest import Gradproj

from gradproj.execution import worker


@pytest.fixture
def name_of(gradproj: Gradproj, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The run id that overrides lead to; no image is made."""
    monkeypatch.setattr(worker, "complete_batches", lambda *_: None)

    def name(*overrides: str) -> str:
        code, out, error = gradproj("run", *line.SETTINGS, *overrides, folder=tmp_path)
        assert code == 1, error  # none is recorded
        found = re.match(r"\S*/runs/(\S+): ", out)
        assert found
        return found[1]

    return name


def test_where_and_how_much_do_not_change_the_name(name_of: Callable[..., str]) -> None:
    same = [
        "seeds=5",
        "batch=3",
        "shards=4",
        "results=elsewhere",
        "method.optimizer.lr=0.0010",
        "steps=4",
        "method.optimizer.lr=1e-3",
        "method.block=16",
    ]
    assert {name_of(override) for override in same} == {name_of()}


def test_what_changes_the_numbers_changes_the_name(name_of: Callable[..., str]) -> None:
    others = [
        "steps=5",
        "method.block=32",
        "method.optimizer.lr=0.5",
        "keep=best",
        "score_every=2",
        "max_skips=3",
        "method.clip=0.1",
    ]
    others += ["method=none", "protocol=native", "reward=shapes_matcher", "rewards=[shapes_aesthetic]"]
    others += [
        f"prompts={json.dumps(prompts)}" for prompts in (line.PROMPTS[:1], line.PROMPTS[1::-1], line.PROMPTS[:2])
    ]
    others += ["reward={shapes_aesthetic: 1, shapes_matcher: 2}", "reward={shapes_aesthetic: 1, shapes_matcher: 3}"]
    names = [name_of(), *(name_of(override) for override in others)]
    assert len(set(names)) == len(names)


def test_the_content_of_a_prompt_file_names_the_run_not_its_path(name_of: Callable[..., str], tmp_path: Path) -> None:
    for name, text in (("a.txt", "a red ring\n"), ("b.txt", "a red ring"), ("c.txt", "a red cross\n")):
        (tmp_path / name).write_text(text)
    first, again, other = (name_of(f"prompts={name}.txt") for name in "abc")
    assert first == again == name_of('prompts=["a red ring"]')
    assert other != first
