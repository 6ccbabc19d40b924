"""Runs of the fakes: every recorded number and picture against the bare loop and numpy, and what is not recorded."""

import errno
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest
import torch
from fakes import IMAGES, PROMPTS, Model, Red, Target, complete, experiment, new_run, numbers, saved, sgd
from PIL import Image as Pillow
from torch import Tensor

import gradproj
from gradproj.execution import batches
from gradproj.execution.destination import Records
from gradproj.execution.trajectory import to_pictures
from gradproj.methods import ours
from gradproj.noise import generator, initial_latent
from gradproj.optimize import Step, optimize
from gradproj.runs.folder import COLUMNS, Run
from gradproj.runs.naming import ImageId
from gradproj.runs.record import unlabelled
from gradproj.runs.scored_steps import scored_steps
from gradproj.types import Method

OVERSHOOT: dict[str, Any] = {
    "target": {"target": 1.0},
    "method": sgd(2.0, 0.5),
    "steps": 11,
}  # its best step lies on the way
SOUND = {ImageId(0, 0), ImageId(1, 0), ImageId(3, 0)}


def alone(reward: Callable[[Tensor, Any], Tensor], method: Method, image: ImageId, steps: int) -> list[Step]:
    """The same image by itself, straight from the loop."""
    latent, condition = initial_latent(fakes.SHAPE, [image]), torch.tensor([False])
    return list(optimize(Model(), reward, method, condition, None, latent, steps, [generator("method", *image)]))


# --- failures


@pytest.mark.parametrize(("trouble", "start", "batch"), [("gradient", 0, 1), ("gradient", 3, 4), ("picture", 7, 4)])
def test_an_image_that_meets_no_usable_number_fails_alone_and_says_why(
    tmp_path: Path, trouble: str, start: int, batch: int
) -> None:
    run, failures = complete(tmp_path / "bad", batch=batch, model=Model(trouble, start))
    sound, none = complete(tmp_path / "sound", batch=batch)
    assert run.recorded() == SOUND and not none
    ((bad, (reason,)),) = failures.items()
    assert str(bad) == "0002-0" and "gradient" in reason
    assert not list(run.images.glob("0002-0*.png"))
    for image in SOUND:
        np.testing.assert_allclose(numbers(run, *image), numbers(sound, *image), rtol=1e-5, atol=1e-7)
        assert run.kept(image).read_bytes() == sound.kept(image).read_bytes()


def test_skips_in_fewer_steps_in_a_row_than_allowed_are_recorded_as_such(tmp_path: Path) -> None:
    run, failures = complete(tmp_path, model=Model("gradient", 2, 4), max_skips=3)
    assert not failures
    found = numbers(run, 2)
    assert found.skipped.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert found.reward[2] == found.reward[3] == found.reward[4] < found.reward[5]
    assert numbers(run, 0).skipped.sum() == 0


@pytest.mark.parametrize("trouble", ["gradient", "picture"])
def test_an_image_stuck_to_its_last_step_is_not_recorded_as_done(tmp_path: Path, trouble: str) -> None:
    run, failures = complete(tmp_path, model=Model(trouble), max_skips=10)  # more than there are steps
    assert run.recorded() == SOUND and len(failures) == 1


class Strange(Red):
    """Scores the pictures of the prompt "bad" as ``value``, after ``sound`` pictures of it."""

    def __init__(self, value: float, sound: int) -> None:
        self.value, self.sound = value, sound

    def score(self, pictures: Sequence[Any], prompts: Sequence[str]) -> Tensor:
        values = super().score(pictures, prompts)
        self.sound -= "bad" in prompts
        return torch.where(torch.tensor([prompt == "bad" and self.sound < 0 for prompt in prompts]), self.value, values)


@pytest.mark.parametrize(("value", "sound", "step"), [(math.nan, 0, 0), (math.inf, 1, 3), (-math.inf, 3, 7)])
@pytest.mark.parametrize("held_out", [True, False])
def test_an_official_score_that_is_not_finite_fails_its_image_and_is_named(
    tmp_path: Path, value: float, sound: int, step: int, held_out: bool
) -> None:
    rewards = {"red": Red(), "strange": Strange(value, sound)}
    run, failures = complete(tmp_path, rewards=rewards, target={"red" if held_out else "strange": 1.0})
    assert run.recorded() == SOUND
    assert failures == {ImageId(2, 0): [f"strange scored {value} at step {step}"]}


@pytest.mark.parametrize(("batch", "lost"), [(1, {2}), (3, {0, 1, 2})])
def test_an_error_of_the_device_fails_its_batch_alone(tmp_path: Path, batch: int, lost: set[int]) -> None:
    run, failures = complete(tmp_path, batch=batch, model=Model("device", 2))
    assert {image.prompt for image in run.recorded()} == set(range(4)) - lost
    reason = "RuntimeError: an illegal memory access, says the device"
    assert failures == {ImageId(prompt, 0): [reason] for prompt in lost}


def test_a_later_success_removes_the_word_of_failure(tmp_path: Path) -> None:
    run, _ = complete(tmp_path, model=Model("gradient"), batch=2)
    before = {path.name: path.read_bytes() for path in run.images.iterdir() if not path.name.startswith("0002")}
    batches.complete(experiment(), Records(run), [ImageId(2, 0)], 1)
    assert not list(run.images.glob("*.failed")) and len(run.recorded()) == 4
    assert {path.name: path.read_bytes() for path in run.images.iterdir() if path.name in before} == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_an_error_of_the_disk_is_no_fault_of_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def write(*_: Any) -> None:
        raise OSError(number, errno.errorcode[number])

    monkeypatch.setattr(Run, "write", write)
    run = new_run(tmp_path, experiment())
    with pytest.raises(OSError, match=errno.errorcode[number]):
        batches.complete(experiment(), Records(run), IMAGES, 4)
    assert not list(run.images.glob("*.failed"))


# --- what is recorded


@pytest.mark.parametrize("batch", [1, 3])
def test_rows_are_the_loops_own_numbers(tmp_path: Path, batch: int) -> None:
    run, failures = complete(tmp_path, batch=batch, seeds=2)
    assert not failures
    for image in (ImageId(0, 0), ImageId(1, 1), ImageId(3, 0)):
        found: Any = run.table(image)
        assert list(found.columns) == [*COLUMNS, "red", "target", "length"]
        steps = alone(Red(), sgd(20.0), image, 7)
        first = steps[0].latent.double().numpy().ravel()
        assert found.step.tolist() == list(range(8))
        for step, row in zip(steps, found.itertuples(), strict=True):
            latent = step.latent.double().numpy().ravel()
            cosine = latent @ first / np.linalg.norm(latent) / np.linalg.norm(first)
            assert row.reward == pytest.approx(step.reward.item(), rel=1e-5)
            assert row.gradient_norm == pytest.approx(step.gradient_norm.item(), rel=1e-5, nan_ok=True)
            assert row.latent_rms == pytest.approx(np.sqrt((latent**2).mean()), rel=1e-5)
            assert row.cosine == pytest.approx(cosine, rel=1e-5)
            assert row.skipped == 0
        assert (found.seconds.diff().dropna() >= 0).all() and found.seconds[0] >= 0


def test_scored_steps_say_how_far_the_latent_is_from_noise(tmp_path: Path) -> None:
    model = Model()
    model.latent_shape = (3, 8, 8)  # blocks of 16 coefficients tile it; those of SHAPE are not tiled
    projected = ours.method(sgd(20.0).optimizer, math.inf, 16, project_gradient=True, project_latent=True)
    run, _ = complete(tmp_path, model=model, method=projected)
    found = numbers(run, 0)
    assert set(np.flatnonzero(found.flatness.notna())) == {0, 3, 6, 7} == set(np.flatnonzero(found.distance.notna()))
    start = initial_latent(model.latent_shape, [(0, 0)]).double().numpy().ravel()
    spectrum = np.fft.rfft(start, norm="ortho")
    power = np.abs(np.append((spectrum[0] + 1j * spectrum[-1]) / np.sqrt(2), spectrum[1:-1])) ** 2
    blocks = power.reshape(-1, 16).mean(1)
    assert found.flatness[0] == pytest.approx(np.exp(np.log(blocks).mean()) / blocks.mean(), rel=1e-5)
    assert found.flatness[7] == pytest.approx(1.0, abs=1e-5) and found.distance[7] == pytest.approx(0, abs=1e-5)
    onto = gradproj.project(torch.from_numpy(start)[None])[0].numpy()
    assert found.distance[0] == pytest.approx(np.sqrt(((start - onto) ** 2).mean()), rel=1e-4)
    assert numbers(complete(tmp_path / "untiled")[0], 0).distance.isna().all()


@pytest.mark.parametrize("every", [1, 2, 7, 100])
def test_exactly_every_kth_the_last_and_the_best_step_are_scored(tmp_path: Path, every: int) -> None:
    run, _ = complete(tmp_path, score_every=every, **OVERSHOOT)
    off_grid = 0
    for prompt in range(4):
        found = numbers(run, prompt)
        best = int(np.argmax(found.reward))
        off_grid += best % every != 0 and best != 11
        for score in ("red", "target", "length"):
            assert set(np.flatnonzero(found[score].notna())) == {*range(0, 12, every), 11, best}
    assert off_grid or every == 1  # or the best step was put to no test


def test_geometric_steps_are_scored_where_the_climb_is(tmp_path: Path) -> None:
    run, _ = complete(tmp_path, steps=30, score_every="geometric")
    for prompt in range(4):
        found = numbers(run, prompt)
        scored = {0, 1, 2, 3, 5, 7, 10, 14, 20, 28, 30}
        assert set(np.flatnonzero(found.red.notna())) == scored | {int(np.argmax(found.reward))}


def test_geometric_steps_grow_by_the_root_of_two_and_have_the_papers_step() -> None:
    steps = scored_steps(1000, "geometric")
    assert steps[:11] == [0, 1, 2, 3, 5, 7, 10, 14, 20, 28, 40] and 60 in steps and steps[-1] == 1000
    long = [step for step in steps if step >= 20 and step not in (60, 1000)]
    assert np.array(long[1:]) / long[:-1] == pytest.approx(math.sqrt(2), rel=0.03)
    assert scored_steps(60, "geometric")[-2:] == [56, 60] and scored_steps(1, "geometric") == [0, 1]
    assert scored_steps(25, 10) == [0, 10, 20, 25] and scored_steps(20, 10) == [0, 10, 20]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_saved_pictures_are_the_first_and_the_kept_steps_and_have_the_scores(
    tmp_path: Path, keep: str, batch: int
) -> None:
    run, _ = complete(tmp_path, batch=batch, seeds=2, keep=keep, score_every=5, **OVERSHOOT)
    inner = 0
    for image in sorted(run.recorded()):
        steps, found = alone(Target(), OVERSHOOT["method"], image, 11), numbers(run, *image)
        best = int(np.argmax([step.reward.item() for step in steps]))
        inner += 0 < best < 11
        for path, index in ((run.start(image), 0), (run.kept(image), best if keep == "best" else 11)):
            expected = np.rint(steps[index].image[0].permute(1, 2, 0).numpy().astype(np.float64) * 255)
            difference = np.abs(saved(path) - expected)
            assert difference.max() <= 1 and (difference > 0).mean() < 0.02  # a tie may round the other way
            with Pillow.open(path) as picture:
                for name, reward in experiment().rewards.items():
                    (score,) = reward.score([picture], [PROMPTS[image.prompt]]).tolist()
                    assert found[name][index] == pytest.approx(score, rel=1e-5)
    assert inner


def test_the_climbed_mix_is_the_weighted_sum_of_its_parts_and_so_is_its_gradient(tmp_path: Path) -> None:
    run, _ = complete(tmp_path, target={"red": 5.0, "target": -0.25})

    def by_hand(image: Tensor, text: None) -> Tensor:
        return 5 * image[:, 0].mean((1, 2)) + 25 * (image.mean((1, 2, 3)) - 1 / 3).square()

    for image in IMAGES:
        steps, found = alone(by_hand, sgd(20.0), image, 7), numbers(run, *image)
        assert found.reward.tolist() == pytest.approx([step.reward.item() for step in steps], rel=1e-5)
        norms = [step.gradient_norm.item() for step in steps[:-1]]
        assert found.gradient_norm.tolist()[:-1] == pytest.approx(norms, rel=1e-5)


def test_pictures_are_rounded_to_the_nearest_level() -> None:
    levels = torch.arange(256).repeat(3, 1)[None, :, None] / 255.0
    for shift in (0.0, 0.4 / 255, -0.4 / 255):
        (found,) = to_pictures((levels + shift).clamp(0, 1))
        assert np.array_equal(np.asarray(found)[0, :, 1], np.arange(256))


def test_the_batch_changes_no_number(tmp_path: Path) -> None:
    expected, _ = complete(tmp_path / "all", batch=100, seeds=2)
    for batch in (1, 3):
        run, _ = complete(tmp_path / str(batch), batch=batch, seeds=2)
        assert run.recorded() == expected.recorded() and len(run.recorded()) == 8
        for image in run.recorded():
            np.testing.assert_allclose(numbers(run, *image), numbers(expected, *image), rtol=1e-5, atol=1e-7)


def test_how_often_a_gradient_was_tried_again_is_in_the_record_of_its_image(tmp_path: Path) -> None:
    class Halving(Model):
        @property
        def halvings(self) -> Tensor:
            return torch.tensor([2, 0])

    run, failures = complete(tmp_path / "halving", batch=2, model=Halving(), prompts=["one", "two"])
    plain, _ = complete(tmp_path / "plain", batch=2, model=Model(), prompts=["one", "two"])
    labels = [unlabelled(run.record(image).read_bytes()) for image in IMAGES[:2]]
    assert not failures and [(label or ({},))[0].get("gradient_halvings") for label in labels] == [2 * 8, None]
    assert run.recorded() == set(IMAGES[:2])
    for image in IMAGES[:2]:
        assert run.table(image).drop(columns="seconds").equals(plain.table(image).drop(columns="seconds"))
    assert b"halvings" not in plain.record(IMAGES[0]).read_bytes()
