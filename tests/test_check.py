"""What is refused before a weight is loaded: each message names the key, what it accepts and what to type."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Gradproj

from gradproj.errors import UserError
from gradproj.execution.settings import keys
from gradproj.execution.settings.check import check_optimizer
from gradproj.execution.settings.parts import parts

REFUSED = [
    ("method.project_latent=no", "method.project_latent must be true or false, got 'no'"),
    ("method.project_latent=off", "must be true or false"),
    ("method.project_latent=null", "must be true or false, got None"),
    ("method.project_gradient=1", "must be true or false, got 1"),
    ("method.block=abc", "method.block must be a whole number, at least 2, got 'abc'"),
    ("method.block=16.0", "must be a whole number"),
    ("method.block=true", "must be a whole number"),
    ("method.clip=0", "method.clip must be a finite number, above 0, got 0"),
    ("method.clip=nan", "must be a finite number"),
    ("method.clip=inf", "must be a finite number"),
    ("method.clip='0.03'", "must be a finite number"),
    ("+method.blok=4", "unknown key method.blok: did you mean block?"),
    ("~method.block", "method.block is missing: it must be a whole number, at least 2"),
    ("method.optimizer.lr=fast", "method.optimizer.lr must be a finite number"),
    ("+method.optimizer.foo=1", "unknown key method.optimizer.foo"),
    ("+method.optimizer.amsgrad=yes", "method.optimizer.amsgrad must be true or false"),
    ("method.optimizer._target_=torch.optim.Adan", "Adan"),
    ("method._target_=math.pi", "expected a function or class to call"),
    ("method._target_=nowhere.method", "PYTHONPATH=FOLDER"),
    ("+rewards.shapes_matcher.size=3", "unknown key rewards.shapes_matcher.size: expected none"),
    ("+model.foo=1", "unknown key model.foo"),
]


@pytest.mark.parametrize(("override", "expected"), REFUSED)
def test_a_setting_that_does_not_fit_its_signature_is_refused(compose: Any, override: str, expected: str) -> None:
    with pytest.raises(UserError) as error:
        parts(keys.check(compose(override)))
    assert expected in str(error.value)


def test_what_fits_is_made_with_the_types_of_its_signature(compose: Any) -> None:
    method = parts(keys.check(compose("method=mpgr", "method.weight=2", "+method.optimizer.betas=[0.8,0.9]")))["method"]
    optimizer = method.optimizer([torch.zeros(2)])
    assert optimizer.defaults["betas"] == (0.8, 0.9) and isinstance(method.clip, float)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop])
def test_an_optimiser_that_climbs_passes(optimizer: Any) -> None:
    check_optimizer(partial(optimizer, lr=0.1), torch.zeros(1, 3, 4))


@pytest.mark.parametrize(
    ("optimizer", "settings", "expected"),
    [
        (torch.optim.LBFGS, {}, "evaluates the reward again"),
        (torch.optim.SparseAdam, {}, "cannot take a latent"),
        (torch.optim.SGD, {"lr": 0.0}, "lr must be above 0"),
        (torch.optim.SGD, {"lr": -1.0}, "Invalid learning rate"),
        (torch.optim.Adam, {"maximize": True}, "maximize=false"),
        (print, {}, "must be a torch optimiser"),
    ],
)
def test_an_optimiser_that_does_not_climb_is_refused(optimizer: Any, settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        check_optimizer(partial(optimizer, **settings), torch.zeros(1, 3, 4))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["sttep=3"], "did you mean steps?"),
        (["method.blok=4"], "did you mean block?"),
        (["model=fluxx"], "did you mean flux?"),
        (["model=null"], "expected flux"),
        (["=3"], "type KEY=VALUE"),
        (["reward=shapes_aestetic"], "did you mean shapes_aesthetic?"),
        (["rewards=[shapes_aesthetic,shapes_match]"], "did you mean shapes_matcher?"),
        (["prompts=a red ring"], """'prompts=["a red ring"]'"""),
        (["prompts=/dev/null"], "a pipe or a device"),
        (["results=~/x"], "type results=/"),
        (["method=none,ours"], "type -m"),
        (["method=[none,ours]"], "not a choice of method"),
        (["hydra/launcher=slurm", "steps=3"], "type gradproj run -m hydra/launcher=slurm steps=3"),
        (["steps.x=1"], "steps"),
        (["+swep=main"], "did you mean +sweep?"),
    ],
)
def test_what_was_meant_is_said_in_one_line(
    gradproj: Gradproj, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    code, out, error = gradproj("run", *arguments, folder=tmp_path)
    assert (code, out, len(error.splitlines())) == (2, "", 1) and expected in error


@pytest.mark.parametrize(
    "override", ["method.block=7", "prompts=animals", "method.optimizer._target_=torch.optim.LBFGS"]
)
def test_a_plan_refuses_what_a_run_would(gradproj: Gradproj, tmp_path: Path, override: str) -> None:
    plan, run = (gradproj(verb, override, folder=tmp_path) for verb in ("plan", "run"))
    assert plan[0] == run[0] == 2 and plan[2].partition(":")[2] == run[2].partition(":")[2]


def test_a_plan_of_any_number_of_images_is_counted_not_listed(gradproj: Gradproj, tmp_path: Path) -> None:
    code, out, _ = gradproj("plan", "seeds=1000000000", folder=tmp_path)
    assert code == 0 and "16000000000 images to do" in out
