"""A run from a hub on localhost on a pretended card: what it is refused, what it chooses, prints and records."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import published_hub
import pytest
from conftest import Gradproj
from fake_hub import FakeHub
from published_hub import SHORT

from gradproj.execution import devices
from gradproj.execution.memory import peaks
from gradproj.execution.memory.planner import card

made, hub = published_hub.made, published_hub.hub
TYPED = [word for word in SHORT if not word.startswith("batch=")]
Pretend = Callable[[int], None]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """``pretend(48)``: a GPU of 48 GB, as far as its memory goes."""
    return lambda gigabytes: monkeypatch.setattr(devices, "memory", lambda _: card(gigabytes))


def typed(made: Any, *more: str) -> list[str]:
    return [*(word.replace("float32", "bfloat16") for word in made[1] if "resolution" not in word), *TYPED, *more]


def test_a_card_too_small_is_refused_before_a_byte_is_fetched(
    hub: FakeHub, made: Any, gradproj: Gradproj, pretend: Pretend, tmp_path: Path
) -> None:
    pretend(24)
    said = gradproj("run", *typed(made), folder=tmp_path)
    assert said.code == 2 and said.err.count("\n") == 1, said.err
    assert said.err.startswith("gradproj run: no room for the generator and the decoder of Flux, 22.2 GiB: ")
    assert said.err.endswith("take a card of 32 GB or more (docs/models.md)\n")
    assert not hub.sent
    assert not (tmp_path / "results").exists()


def test_the_choice_is_printed_and_recorded_with_what_it_took_and_names_no_run(
    hub: FakeHub, made: Any, gradproj: Gradproj, pretend: Pretend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = iter(range(1, 100))
    monkeypatch.setattr(peaks, "most", lambda _: next(taken))
    words = typed(made, "model.resolution=16", "seeds=2")
    pretend(48)
    first = gradproj("run", *words, folder=tmp_path)
    assert first.code == 0, first.err
    assert "memory: batch=4, held_out=during, checkpointing=none, decoder_checkpointing=none: " in first.out
    (run,) = (tmp_path / "results" / "runs").iterdir()
    facts = json.loads((run / "env.json").read_text())
    assert facts["batch"] == 2, "no more than there are images"
    assert facts["model"]["memory"]["checkpointing"] == "none"
    memory = facts["memory"]
    assert memory["chosen"] in first.out
    assert memory["predicted_bytes"].keys() == memory["measured_bytes"].keys() == {"text", "load", "climb", "score"}
    assert memory["measured_bytes"]["text"] < memory["measured_bytes"]["load"] < memory["measured_bytes"]["climb"]
    assert "memory" not in (run / "config.yaml").read_text()
    pretend(80)
    again = gradproj("run", *words, "held_out=cpu", "seeds=3", folder=tmp_path)
    assert again.code == 0 and "2 of 3 images recorded, 1 to do" in again.out
    assert list((tmp_path / "results" / "runs").iterdir()) == [run]
    later = json.loads((run / "env.json").read_text())
    assert later["memory"]["measured_bytes"]["climb"] > memory["measured_bytes"]["climb"], "the most so far"
    assert {key: value for key, value in later.items() if key != "memory"} == {
        key: value for key, value in facts.items() if key != "memory"
    }
    replayed = gradproj("replay", run, "0000-2", *made[1][3:], "device=cpu", folder=tmp_path)
    assert replayed.code == 0, replayed.out + replayed.err
