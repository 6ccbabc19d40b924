"""Where the GPU's memory does not do: less is asked of it, and the note says so."""

import gc
import weakref
from pathlib import Path
from typing import Any

import fakes
import pandas as pd
import pytest
import torch
from tiny import models as tiny

from gradproj.execution.batches import complete
from gradproj.execution.destination import Records


class Small(fakes.Model):
    """Room for ``room`` pictures of a batch; two cheaper policies, each with room for one more."""

    def __init__(self, room: int, shrinks_after: int = 10**6) -> None:
        super().__init__()
        self.room, self.shrinks_after = room, shrinks_after
        self.policies = ["decoder_checkpointing=blocks", "checkpointing=blocks"]
        self.held: list[Any] = []
        self.crowded = False

    def save_memory(self) -> str | None:
        if self.policies:
            self.room += 1
            return self.policies.pop(0)
        return None

    def generate(self, latent: Any, condition: Any) -> Any:
        if self.held:
            gc.collect()
            self.crowded |= any(one() is not None for one in self.held)
        self.held = []
        self.shrinks_after -= 1
        self.room -= self.shrinks_after == -1
        if len(latent) > self.room:
            self.held = [weakref.ref(latent)]
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().generate(latent, condition)


OOM = "out of memory: "


@pytest.mark.parametrize(
    ("room", "batch", "notes"),
    [
        (4, 4, []),
        (1, 4, [f"{OOM}batch=1"] * 4),
        (0, 1, [f"{OOM}decoder_checkpointing=blocks"] * 4),
        (0, 4, [f"{OOM}batch=1: decoder_checkpointing=blocks"] * 4),
        (-1, 1, [f"{OOM}decoder_checkpointing=blocks: checkpointing=blocks"] * 4),
    ],
)
def test_where_memory_does_not_do_less_is_asked_of_it_and_noted(
    tmp_path: Path, room: int, batch: int, notes: list[str]
) -> None:
    model = Small(room)
    run, failures = fakes.complete(tmp_path, batch=batch, model=model)
    assert failures == {} and run.recorded() == set(fakes.IMAGES)
    assert sorted(path.read_text().strip() for path in run.images.glob("*.note")) == notes
    assert not model.crowded, "a failed attempt's tensors were still held"
    sound, _ = fakes.complete(tmp_path / "sound", batch=1)
    for image in fakes.IMAGES:
        pd.testing.assert_frame_equal(fakes.numbers(run, *image), fakes.numbers(sound, *image), rtol=1e-5)


def test_only_what_is_made_from_then_on_is_noted(tmp_path: Path) -> None:
    """The policy stays for the worker's later images; those before it were made as asked."""
    model = Small(1, shrinks_after=2)
    made = fakes.experiment(model=model, steps=1)
    run = fakes.new_run(tmp_path, made)
    complete(made, Records(run), fakes.IMAGES, 1)
    notes = [path.read_text() for path in run.images.glob("*.note")]
    assert notes == [f"{OOM}decoder_checkpointing=blocks\n"] * 3


def test_what_does_not_fit_under_the_cheapest_policy_fails_and_says_so(tmp_path: Path) -> None:
    run, failures = fakes.complete(tmp_path, model=Small(-9))
    reason = "out of memory under the cheapest policy: CUDA out of memory"
    assert failures == {image: [reason] for image in fakes.IMAGES}
    assert not run.recorded() and not list(run.images.glob("*.note"))


@pytest.mark.parametrize("case", tiny.PLAIN)
def test_a_published_model_saves_memory_twice_and_its_gradient_stays(case: str) -> None:
    model, steps = tiny.build(case, checkpointing="none", decoder_checkpointing="none"), []
    condition, latent = model.encode(["a red ring"]), tiny.random_latent(model, 1).requires_grad_()
    answers = []
    for _ in range(3):
        kept: dict[int, int] = {}

        def pack(tensor: Any, kept: dict[int, int] = kept) -> Any:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            image = model.generate(latent, condition)
        steps.append((sum(kept.values()), torch.autograd.grad(image.square().sum(), latent)[0]))
        answers.append(model.save_memory())
    assert answers == ["decoder_checkpointing=blocks", "checkpointing=blocks", None]
    assert steps[0][0] > steps[1][0] > steps[2][0]
    for _, gradient in steps[1:]:
        torch.testing.assert_close(gradient, steps[0][1], rtol=1e-3, atol=1e-5)
