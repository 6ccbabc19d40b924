"""A run on a model and rewards of a few lines, so that every recorded number can be worked out beside it."""

import errno
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import names_of
from PIL import Image as Pillow
from torch import Tensor

import gradproj
from gradproj.errors import UserError
from gradproj.execution.experiment import Experiment, to_pictures, weighted
from gradproj.methods import ours
from gradproj.noise import generator, initial_latent
from gradproj.optimize import Step, optimize
from gradproj.runs.folder import COLUMNS, Run
from gradproj.runs.naming import ImageId, Share
from gradproj.types import Method

PROMPTS = ["one", "two", "bad", "four"]
SHAPE = (3, 6, 5)
CPU = torch.device("cpu")


class Model:
    """The picture is a squashed latent; the prompt "bad" misbehaves in its calls ``start`` to ``end``."""

    latent_shape: tuple[int, ...] = SHAPE
    weights: Mapping[str, str] = {}

    def __init__(self, trouble: str = "", start: int = 0, end: int = 10**6) -> None:
        self.device = CPU
        self.trouble, self.start, self.end, self.calls = trouble, start, end, 0

    def encode(self, prompts: Sequence[str]) -> Tensor:
        for prompt in prompts:
            if prompt == "unreadable":
                raise ValueError("cannot read 'unreadable'")
        return torch.tensor([prompt == "bad" for prompt in prompts])

    def generate(self, latent: Tensor, condition: Tensor) -> Tensor:
        image = latent.sigmoid()
        bad = condition.any() and self.start <= self.calls < self.end
        self.calls += bool(condition.any())
        if bad and self.trouble == "memory":
            raise RuntimeError("out of memory, says the device")
        if bad and self.trouble == "picture":
            image = torch.where(condition[:, None, None, None], torch.full_like(image, torch.nan), image)
        if bad and self.trouble == "gradient" and image.requires_grad:
            spoil = torch.where(condition, torch.nan, 1.0)[:, None, None, None]
            image.register_hook(lambda gradient: gradient * spoil)
        return image


class Red:
    """Mean of the red channel."""

    weights: Mapping[str, str] = {}

    def encode(self, prompts: Sequence[str]) -> None:
        return None

    def __call__(self, image: Tensor, text: None) -> Tensor:
        return image[:, 0].mean((1, 2))

    def score(self, pictures: Sequence[Any], prompts: Sequence[str]) -> Tensor:
        return torch.tensor([np.asarray(picture)[..., 0].mean() / 255 for picture in pictures])


class Target(Red):
    """Minus the squared distance of the mean from a third: overshot by big steps."""

    def __call__(self, image: Tensor, text: None) -> Tensor:
        return -100 * (image.mean((1, 2, 3)) - 1 / 3).square()

    def score(self, pictures: Sequence[Any], prompts: Sequence[str]) -> Tensor:
        return torch.tensor([-100 * (np.asarray(picture).mean() / 255 - 1 / 3) ** 2 for picture in pictures])


class Length:
    """Held out, no form to climb: the length of the prompt plus the corner pixel, so that mixed-up rows show."""

    def score(self, pictures: Sequence[Any], prompts: Sequence[str]) -> Tensor:
        corners = [np.asarray(picture)[0, 0, 2] / 255 for picture in pictures]
        return torch.tensor([len(prompt) + corner for prompt, corner in zip(prompts, corners, strict=True)])


def sgd(lr: float, momentum: float = 0) -> Method:
    return Method(lambda parameters: torch.optim.SGD(parameters, lr=lr, momentum=momentum))


OVERSHOOT = sgd(2.0, 0.5)  # passes through the target, so that the best step lies on the way


def experiment(**changes: Any) -> Experiment:
    given: dict[str, Any] = {
        "model": Model(),
        "method": sgd(20.0),
        "rewards": {"red": Red(), "target": Target(), "length": Length()},
        "target": {"red": 1.0},
        "prompts": PROMPTS,
        "steps": 7,
        "keep": "last",
        "score_every": 3,
        "max_skips": 2,
    }
    return Experiment(**given | changes)


def new_run(folder: Path, one: Experiment) -> Run:
    config = {
        "names": {"model": "m", "method": "n", "reward": "r"},
        "steps": one.steps,
        "rewards": dict.fromkeys(one.rewards),
    }
    return Run.create(folder, config | {"keep": one.keep}, {})


def complete(folder: Path, batch: int = 4, seeds: int = 1, **changes: Any) -> tuple[Run, int]:
    one = experiment(**changes)
    run = new_run(folder, one)
    images = list(Share(len(one.prompts), seeds))
    return run, one.complete(run, images, batch)


def frame(run: Run, prompt: int, seed: int = 0) -> Any:
    return pd.read_csv(run.record(ImageId(prompt, seed)), comment="#")


def picture(run: Run, prompt: int, suffix: str = "", seed: int = 0) -> Any:
    with Pillow.open(run.images / f"{ImageId(prompt, seed)}{suffix}.png") as file:
        return file.convert("RGB").copy()


def replay(
    reward: Callable[[Tensor, Any], Tensor], method: Method, prompt: int, steps: int, seed: int = 0
) -> list[Step]:
    """The same image alone, straight from the loop."""
    latent = initial_latent(SHAPE, [(prompt, seed)])
    condition = torch.tensor([False])
    return list(optimize(Model(), reward, method, condition, None, latent, steps, [generator("method", prompt, seed)]))


# --- failures


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("batch", [1, 4])
def test_an_image_without_usable_gradient_fails_alone_and_says_why(tmp_path: Path, start: int, batch: int) -> None:
    run, failed = complete(tmp_path / "bad", batch=batch, model=Model("gradient", start))
    sound, none_failed = complete(tmp_path / "sound", batch=batch)
    assert (failed, none_failed) == (1, 0)
    assert names_of(run) == {"0000-0", "0001-0", "0003-0"}
    reasons = list(run.images.glob("*.failed"))
    assert [path.name for path in reasons] == ["0002-0.failed"]
    assert "gradient" in reasons[0].read_text()
    assert not list(run.images.glob("0002-0*.png"))
    for prompt in (0, 1, 3):
        mine, expected = frame(run, prompt).drop(columns="seconds"), frame(sound, prompt).drop(columns="seconds")
        np.testing.assert_allclose(mine, expected, rtol=1e-5, atol=1e-7)
        assert picture(run, prompt).tobytes() == picture(sound, prompt).tobytes()


def test_skips_in_fewer_steps_in_a_row_than_allowed_are_recorded_as_such(tmp_path: Path) -> None:
    run, failed = complete(tmp_path, model=Model("gradient", 2, 4), max_skips=3)
    assert failed == 0
    found = frame(run, 2)
    assert found.skipped.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert found.reward[2] == found.reward[3] == found.reward[4] < found.reward[5]
    assert frame(run, 0).skipped.sum() == 0


@pytest.mark.parametrize("trouble", ["gradient", "picture"])
def test_an_image_stuck_to_its_last_step_is_not_recorded_as_done(tmp_path: Path, trouble: str) -> None:
    run, failed = complete(tmp_path, model=Model(trouble), max_skips=10)  # more than there are steps
    assert failed == 1
    assert "0002-0" not in names_of(run)


def test_an_image_whose_last_picture_is_not_a_number_is_not_recorded_as_done(tmp_path: Path) -> None:
    run, failed = complete(tmp_path, model=Model("picture", 7), max_skips=2)
    assert failed == 1
    assert "0002-0" not in names_of(run)


@pytest.mark.parametrize(("batch", "lost"), [(1, {2}), (2, {2, 3}), (3, {0, 1, 2}), (4, {0, 1, 2, 3})])
def test_an_error_of_the_device_fails_its_batch_alone(tmp_path: Path, batch: int, lost: set[int]) -> None:
    run, failed = complete(tmp_path, batch=batch, model=Model("memory", 2))
    assert failed == len(lost)
    assert names_of(run) == {f"{prompt:04d}-0" for prompt in set(range(4)) - lost}
    reasons = {path.stem: path.read_text() for path in run.images.glob("*.failed")}
    assert reasons.keys() == {f"{prompt:04d}-0" for prompt in lost}
    assert all("out of memory, says the device" in reason for reason in reasons.values())


def test_a_later_success_removes_the_word_of_failure(tmp_path: Path) -> None:
    complete(tmp_path, model=Model("gradient"), batch=2)
    one = experiment()
    run = new_run(tmp_path, one)
    before = {path.name: path.read_bytes() for path in run.images.iterdir() if not path.name.startswith("0002")}
    assert (run.images / "0002-0.failed").exists()
    assert one.complete(run, [ImageId(2, 0)], 1) == 0
    assert not list(run.images.glob("*.failed"))
    assert len(names_of(run)) == 4
    assert {path.name: path.read_bytes() for path in run.images.iterdir() if path.name in before} == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    refuse(monkeypatch, number)
    with pytest.raises(OSError, match=errno.errorcode[number]):
        complete(tmp_path)


def test_another_error_of_the_disk_is_not_swallowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="EIO"):
        complete(tmp_path)


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def write(*_: Any) -> None:
        raise OSError(number, errno.errorcode[number])

    monkeypatch.setattr(Run, "write", write)


def test_parts_meet_their_input_before_the_work() -> None:
    experiment().check()
    with pytest.raises(UserError, match="unreadable"):
        experiment(prompts=["one", "unreadable"]).check()
    onto_blocks: dict[str, Any] = {"clip": 1.0, "project_gradient": True, "project_latent": True}
    with pytest.raises(UserError, match="tile"):
        experiment(method=ours.method(sgd(1.0).optimizer, block=7, **onto_blocks)).check()
    experiment(method=ours.method(sgd(1.0).optimizer, block=9, **onto_blocks)).check()  # 90 / 2 = 45 = 5 x 9


def test_on_a_gpu_a_whole_batch_takes_one_iteration_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = Model(), []
    monkeypatch.setattr(model, "generate", lambda latent, condition: asked.append(len(latent)) or latent.sigmoid())
    experiment(model=model).check(batch=3)
    assert asked == []  # a processor has memory to spare
    experiment(model=model)._rehearse(3)
    assert asked == [3, 3]  # the start and the end of one step


def test_what_does_not_fit_on_the_gpu_is_told_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(self: Experiment, batch: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Experiment, "_rehearse", too_much)
    model = Model()
    model.device = torch.device("cuda")
    with pytest.raises(UserError, match=r"batch=2 does not fit .*2\.00 GiB.*batch=1.*decoder_checkpointing=blocks"):
        experiment(model=model).check(batch=2)


# --- what is recorded


@pytest.mark.parametrize("batch", [1, 3])
def test_rows_are_the_loops_own_numbers(tmp_path: Path, batch: int) -> None:
    run, failed = complete(tmp_path, batch=batch, seeds=2)
    assert failed == 0
    for prompt, seed in ((0, 0), (1, 1), (3, 0)):
        found = frame(run, prompt, seed)
        assert list(found.columns) == [*COLUMNS, "red", "target", "length"]
        steps = replay(Red(), sgd(20.0), prompt, 7, seed)
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


PROJECTED = ours.method(sgd(20.0).optimizer, math.inf, 16, project_gradient=True, project_latent=True)


def test_scored_steps_say_how_far_the_latent_is_from_noise(tmp_path: Path) -> None:
    model = Model()
    model.latent_shape = (3, 8, 8)  # blocks of 16 coefficients tile it; those of SHAPE are not tiled
    one = experiment(model=model, score_every=3, method=PROJECTED)
    run = new_run(tmp_path, one)
    assert one.complete(run, [ImageId(0, 0)], 1) == 0
    found = frame(run, 0)
    there = found.flatness.notna()
    assert set(np.flatnonzero(there)) == {0, 3, 6, 7} == set(np.flatnonzero(found.distance.notna()))
    start = initial_latent(model.latent_shape, [(0, 0)]).double().numpy().ravel()
    spectrum = np.fft.rfft(start, norm="ortho")
    power = np.abs(np.append((spectrum[0] + 1j * spectrum[-1]) / np.sqrt(2), spectrum[1:-1])) ** 2
    blocks = power.reshape(-1, 16).mean(1)
    assert found.flatness[0] == pytest.approx(np.exp(np.log(blocks).mean()) / blocks.mean(), rel=1e-5)
    assert found.flatness[7] == pytest.approx(1.0, abs=1e-5) and found.distance[7] == pytest.approx(0, abs=1e-5)
    onto = gradproj.project(torch.from_numpy(start)[None])[0].numpy()
    assert found.distance[0] == pytest.approx(np.sqrt(((start - onto) ** 2).mean()), rel=1e-4)
    assert frame(complete(tmp_path / "untiled")[0], 0).distance.isna().all()


@pytest.mark.parametrize("every", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("keep", ["best", "last"])
def test_exactly_every_kth_the_last_and_the_best_step_are_scored(tmp_path: Path, every: int, keep: str) -> None:
    run, _ = complete(tmp_path, target={"target": 1.0}, method=OVERSHOOT, score_every=every, keep=keep, steps=11)
    off_grid = 0
    for prompt in range(4):
        found = frame(run, prompt)
        best = int(np.argmax(found.reward))
        off_grid += best % every != 0 and best != 11
        expected = {*range(0, 12, every), 11, best}
        for score in ("red", "target", "length"):
            assert set(np.flatnonzero(found[score].notna())) == expected
    assert off_grid or every == 1  # or the best step was put to no test


@pytest.mark.parametrize("batch", [1, 4])
def test_keep_best_saves_the_picture_of_the_largest_reward(tmp_path: Path, batch: int) -> None:
    changes: dict[str, Any] = {"target": {"target": 1.0}, "method": OVERSHOOT, "steps": 11, "score_every": 5}
    best_run, _ = complete(tmp_path, batch=batch, keep="best", **changes)
    last_run, _ = complete(tmp_path, batch=batch, keep="last", **changes)
    inner = 0
    for prompt in range(4):
        steps = replay(Target(), OVERSHOOT, prompt, 11)
        best = int(np.argmax([step.reward.item() for step in steps]))
        inner += 0 < best < 11
        for run, suffix, index in (
            (best_run, "", best),
            (last_run, "", 11),
            (best_run, "-start", 0),
            (last_run, "-start", 0),
        ):
            expected = np.rint(steps[index].image[0].permute(1, 2, 0).numpy().astype(np.float64) * 255)
            difference = np.abs(np.asarray(picture(run, prompt, suffix)) - expected)
            assert difference.max() <= 1 and (difference > 0).mean() < 0.02  # a tie may round the other way
    assert inner


def test_recorded_scores_are_those_of_the_saved_picture_read_back(tmp_path: Path) -> None:
    for keep in ("last", "best"):
        changes: dict[str, Any] = {"target": {"target": 1.0}, "method": OVERSHOOT, "steps": 11}
        run, _ = complete(tmp_path, seeds=2, keep=keep, **changes)
        for prompt in range(4):
            for seed in range(2):
                found = frame(run, prompt, seed)
                kept = 11 if keep == "last" else int(np.argmax(found.reward))
                for suffix, row in (("-start", 0), ("", kept)):
                    saved = picture(run, prompt, suffix, seed)
                    for name, reward in experiment().rewards.items():
                        (expected,) = reward.score([saved], [PROMPTS[prompt]]).tolist()
                        assert found[name][row] == pytest.approx(expected, rel=1e-5)


def test_the_climbed_mix_is_the_weighted_sum_of_its_parts(tmp_path: Path) -> None:
    mix = {"red": 5.0, "target": -0.25}
    run, _ = complete(tmp_path, target=mix)
    for prompt in range(4):

        def by_hand(image: Tensor, text: None) -> Tensor:
            return 5 * image[:, 0].mean((1, 2)) + 25 * (image.mean((1, 2, 3)) - 1 / 3).square()

        expected = [step.reward.item() for step in replay(by_hand, sgd(20.0), prompt, 7)]
        assert frame(run, prompt).reward.tolist() == pytest.approx(expected, rel=1e-5)


def test_a_mix_and_its_gradient_add_up() -> None:
    image = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    parts = {"red": Red(), "target": Target()}
    mixed = weighted(parts, {"red": 2.0, "target": 3.0})(image, {"red": None, "target": None})
    apart = [reward(image, None) for reward in parts.values()]
    assert torch.allclose(mixed, 2 * apart[0] + 3 * apart[1])
    whole, red, target = (torch.autograd.grad(value.sum(), image)[0] for value in (mixed, *apart))
    assert torch.allclose(whole, 2 * red + 3 * target)


def test_pictures_are_rounded_to_the_nearest_level() -> None:
    levels = torch.arange(256).repeat(3, 1)[None, :, None] / 255.0
    for shift in (0.0, 0.4 / 255, -0.4 / 255):
        (found,) = to_pictures((levels + shift).clamp(0, 1))
        assert np.array_equal(np.asarray(found)[0, :, 1], np.arange(256))


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_the_batch_changes_no_number(tmp_path: Path, batch: int) -> None:
    expected, _ = complete(tmp_path / "all", batch=100, seeds=2)
    run, _ = complete(tmp_path / "few", batch=batch, seeds=2)
    assert names_of(run) == names_of(expected)
    for prompt in range(4):
        for seed in range(2):
            a, b = (frame(one, prompt, seed).drop(columns="seconds") for one in (run, expected))
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_nothing_to_do_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradproj.execution.experiment.optimize", None)  # a call would raise
    one = experiment()
    run = new_run(tmp_path, one)
    assert one.complete(run, [], 4) == 0
    assert not list(run.images.iterdir())
