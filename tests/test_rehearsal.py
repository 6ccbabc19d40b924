"""Every part meets its input before the work, and a mistake in a part's code is one line that names its class."""

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import official
import pytest
import torch
from fakes import Model, Red, complete, experiment, sgd
from PIL import Image as Picture
from safetensors.torch import load_file, save_file
from tiny import models as tiny
from tiny.rewards import files
from torch import Tensor

from gradproj.errors import UserError
from gradproj.execution import protocol, rehearsal
from gradproj.execution.settings import check
from gradproj.methods import ours


class Wrong(Red):
    """A reward whose ``call`` answers ``answer(b)``; an exception instead is raised."""

    def __init__(self, call: str, answer: Any) -> None:
        self.call, self.answer = call, answer

    def encode(self, prompts: Sequence[str]) -> Any:
        return self._answer("encode", len(prompts), None)

    def __call__(self, image: Tensor, text: Any) -> Any:
        return self._answer("__call__", len(image), super().__call__(image, None))

    def score(self, pictures: Sequence[Any], prompts: Sequence[str]) -> Any:
        return self._answer("score", len(pictures), super().score(pictures, prompts))

    def _answer(self, call: str, count: int, right: Any) -> Any:
        if call != self.call:
            return right
        answer = self.answer(count)
        if isinstance(answer, BaseException):
            raise answer
        return answer


ANSWERS = {
    "list": lambda count: [0.0] * count,
    r"\(2, 1\)": lambda count: torch.zeros(count, 1),
    r"\(\)": lambda count: torch.zeros(()),
    "int64": lambda count: torch.zeros(count, dtype=torch.int64),
    "NoneType": lambda count: None,
    "KeyError: 'purple'": lambda count: KeyError("purple"),
    "SystemExit: 0": lambda count: SystemExit(0),
    "StopIteration: ": lambda count: StopIteration(),
}


@pytest.mark.parametrize("call", ["__call__", "score"])
@pytest.mark.parametrize("said", ANSWERS)
def test_a_reward_that_answers_wrongly_is_named_with_what_is_wanted(call: str, said: str) -> None:
    rewards = {"own": Wrong(call, ANSWERS[said])}
    with pytest.raises(
        UserError, match=rf"^own \(test_rehearsal\.Wrong\): {call} (must answer .*shape \(2,\).*|raised .*){said}"
    ):
        rehearsal.rehearse(experiment(rewards=rewards, target={"own": 1.0}), 4)


def test_what_a_reward_raises_is_told_with_its_place() -> None:
    for call, error in (("encode", TypeError("no\ntokens")), ("score", ZeroDivisionError("by zero"))):
        with pytest.raises(
            UserError, match=rf"test_rehearsal\.Wrong\): {call} raised {type(error).__name__}: .*test_rehearsal\.py:\d+"
        ):
            rehearsal.try_reward("own", Wrong(call, lambda _, error=error: error), ["a", "b"])
    with pytest.raises(UserError, match=r"own \(test_rehearsal.Wrong\) cannot score these prompts: too long"):
        rehearsal.try_reward("own", Wrong("score", lambda _: ValueError("too long")), ["a"])
    with pytest.raises(UserError, match="__call__ must be differentiable"):
        rehearsal.try_reward("own", Wrong("__call__", torch.zeros), ["a"], torch.device("cpu"))
    rehearsal.try_reward("own", Wrong("", None), ["a"], torch.device("cpu"))


def test_a_mistake_that_shows_later_stops_the_run_and_blames_no_image(tmp_path: Path) -> None:
    late = iter([torch.zeros(1), torch.zeros(1)])
    rewards = {"red": Red(), "own": Wrong("score", lambda count: next(late, None))}
    with pytest.raises(UserError, match=r"own \(test_rehearsal\.Wrong\): score must answer"):
        complete(tmp_path, batch=1, rewards=rewards)
    assert not list(tmp_path.rglob("*.failed"))


def test_a_reward_that_writes_into_its_input_changes_no_picture() -> None:
    class Scribbles(Red):
        def __call__(self, image: Tensor, text: Any) -> Tensor:
            image.data.zero_()
            return super().__call__(image, text)

        def score(self, pictures: Any, prompts: Any) -> Tensor:
            scores = super().score(pictures, prompts)
            pictures[0].putpixel((0, 0), (1, 2, 3))
            pictures.clear()
            return scores

    image, pictures = torch.ones(1, 3, 2, 2), [Picture.new("RGB", (2, 2))]
    protocol.climb("own", Scribbles(), image, None)
    protocol.score("own", Scribbles(), pictures, ["a"])
    assert image.min() == 1 and pictures[0].getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize("weights", [None, ["a"], {"file": 3}])
def test_weights_of_another_form_are_refused(weights: Any) -> None:
    part = Red()
    part.weights = weights
    with pytest.raises(UserError, match=r"own \(fakes\.Red\): weights must map"):
        protocol.weights("own", part)
    with pytest.raises(UserError, match=r"own \(builtins\.object\): weights raised AttributeError"):
        protocol.weights("own", object())


def test_a_prompt_a_method_or_a_model_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    rehearsal.rehearse(experiment(), 4)
    with pytest.raises(UserError, match="unreadable"):
        rehearsal.rehearse(experiment(prompts=["one", "unreadable"]), 4)
    onto_blocks: dict[str, Any] = {"project_gradient": True, "project_latent": True}
    for block, said in ((9, ""), (7, "tile")):  # 45 = 5 x 9
        method = ours.method(sgd(1.0).optimizer, block=block, clip=1.0, **onto_blocks)
        parts = {"model": Model(), "method": method, "rewards": {"red": Red()}}
        with pytest.raises(UserError, match=said) if said else nullcontext():
            check.check(parts, {"reward": "red"}, ["one"])
    for answer, said in (
        (torch.zeros(1, 1, 4, 4), r"\(1, 1, 4, 4\)"),
        (torch.zeros(1, 3, 4, 4).half(), "float16"),
        ([], "list"),
    ):
        monkeypatch.setattr(Model, "generate", lambda *_, answer=answer: answer)
        with pytest.raises(UserError, match=rf"model \(fakes\.Model\): generate must answer float32 .*{said}"):
            rehearsal.rehearse(experiment(), 4)


def test_on_a_gpu_a_whole_batch_takes_one_iteration_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = Model(), []
    monkeypatch.setattr(model, "generate", lambda latent, condition: asked.append(len(latent)) or latent.sigmoid())
    rehearsal.rehearse(experiment(model=model), 3)
    assert asked == [1]  # a processor has memory to spare
    rehearsal.try_batch(experiment(model=model), 3)
    assert asked == [1, 3, 3]  # the start and the end of one step

    def too_much(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Model, "generate", too_much)
    with pytest.raises(
        UserError, match=r"^model \(fakes\.Model\) beside the rewards does not fit .*2\.00 GiB.*held_out"
    ):
        rehearsal.rehearse(experiment(), 2)
    with pytest.raises(UserError, match=r"batch=2 of model .*does not fit .*2\.00 GiB.*batch=1.*decoder_checkpointing"):
        model.device = torch.device("cuda")
        monkeypatch.setattr(rehearsal, "_try_model", lambda _: None)
        monkeypatch.setattr(rehearsal, "try_batch", too_much)
        rehearsal.rehearse(experiment(model=model, target={}), 2)


def test_what_is_too_large_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    for call in ("encode", "__call__", "score"):
        rewards = {"red": Red(), "large": Wrong(call, lambda _: error)}
        with pytest.raises(
            UserError, match=r"^large \(test_rehearsal\.Wrong\) does not fit .* type held_out=after.*large"
        ):
            rehearsal.rehearse(experiment(rewards=rewards, target={"red": 1.0, "large": 1.0}), 2)
    monkeypatch.setattr(Model, "encode", lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(UserError, match=r"^the text encoders of model \(fakes\.Model\) do.*text_encoder_device=cpu"):
        rehearsal.rehearse(experiment(), 2)


def test_a_climbed_reward_is_tried_where_the_model_has_its_pictures() -> None:
    seen: list[str] = []

    class There(Red):
        def __call__(self, image: Tensor, text: None) -> Tensor:
            seen.append(str(image.device))
            return super().__call__(image, None)

    rehearsal.try_reward("red", There(), ["one"], torch.device("meta"))
    rehearsal.try_reward("red", There(), ["one"])
    assert seen == ["meta"]


@pytest.mark.parametrize("part", ["network", "decoder"])
def test_weights_that_are_no_numbers_are_told_before_every_image_fails_of_them(tmp_path: Path, part: str) -> None:
    """Saved so, or beyond the range of the number type, which float16 makes infinite."""
    where, key = ("unet", "conv_in.weight") if part == "network" else ("vae", "decoder.conv_in.weight")
    shutil.copytree(tiny.folder("sd_turbo-plain"), tmp_path / "damaged")
    (file,) = (tmp_path / "damaged" / where).glob("*.safetensors")
    weights = load_file(file)
    weights[key].view(-1)[3] = 1e9
    save_file(weights, file, metadata={"format": "pt"})
    said = rf"^model \(.*SDTurbo\): 1 of its \d+ weights .* {key} of the {part} in torch\.float16"
    for dtype, expected in (("float16", pytest.raises(UserError, match=said)), ("float32", nullcontext())):
        model = tiny.build("sd_turbo-plain", repo=tmp_path / "damaged", dtype=dtype, cache=tmp_path / "prompts")
        with expected:
            rehearsal.rehearse(experiment(model=model), 1)


def test_a_rewards_weights_that_are_no_numbers_are_told_and_an_answer_that_is_none_may_pass() -> None:
    reward = official.build("clip", files("clip"))
    with torch.no_grad():
        next(reward.network.parameters()).view(-1)[0] = torch.nan
    with pytest.raises(UserError, match=r"^clip \(.*\): 1 of its \d+ weights .* of the network in .*another source"):
        rehearsal.try_reward("clip", reward, ["a"], torch.device("cpu"))
    rehearsal.try_reward("own", Wrong("score", lambda count: torch.full((count,), torch.nan)), ["a"])


class Stateful(torch.nn.Linear):
    """A network that saves more than tensors."""

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 2}


def test_an_answer_that_is_none_may_pass_where_the_network_saves_more_than_tensors() -> None:
    own = Wrong("score", lambda count: torch.full((count,), torch.nan))
    own.network = Stateful(2, 2)  # type: ignore[attr-defined]
    rehearsal.try_reward("own", own, ["a"])
