"""The Hydra edge, ``gradproj-run``: compose, check, name the run, complete what is missing, say what came out.

Torch and everything that needs it is imported once there is work, so that ``--help`` and bad input answer at once.
"""

import errno
import os
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from gradproj import inputs
from gradproj.environment import describe
from gradproj.errors import UserError
from gradproj.pictures import before_after
from gradproj.records import Run

PACKAGE = Path(__file__).parent
LOOP = ("steps", "keep", "score_every", "max_skips")
SCIENCE = ("protocol", *LOOP, "model", "method", "reward", "rewards")
_failed: list[str] = []  # runs of this process with failed images: the exit code of a multirun


def data_folder(name: str) -> Path:
    """``configs`` or ``prompts``: inside an installed package, at the root of a checkout."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name


def main() -> None:
    """The console script. Exit code 0: all recorded, 1: some images failed, 2: a message says what to change."""
    application = hydra.main(version_base="1.3", config_path=str(data_folder("configs")), config_name="config")(_run)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would print over many lines, and leaves it to us
    try:
        application()
    except UserError as error:
        sys.exit(_complain(str(error)))
    except (HydraException, OmegaConfBaseException) as error:
        message = str(error).split("Config search path")[0].split("\nTo append to your config")[0]
        sys.exit(_complain(" ".join(message.split()) + " (gradproj-run --help lists keys and choices)"))
    except OSError as error:
        sys.exit(_complain(f"{error.strerror}: {error.filename}"))
    except KeyboardInterrupt:
        sys.exit("\ngradproj-run: stopped; the same command goes on")
    sys.exit(1 if _failed else 0)


def _run(config: DictConfig) -> None:
    choices = HydraConfig.get().runtime.choices
    run_once(config, model=choices["model"], method=choices["method"])


def _complain(message: str) -> int:
    print(f"gradproj-run: {message}", file=sys.stderr)
    return 2


def run_once(config: DictConfig, model: str, method: str) -> Path:
    """Complete one composed run; returns its folder. ``model`` and ``method`` are the chosen YAML files' names."""
    plain = inputs.check(config)
    prompts = inputs.read_prompts(plain["prompts"], data_folder("prompts"))
    mix = {plain["reward"]: 1} if isinstance(plain["reward"], str) else plain["reward"]
    target = {name: float(weight) for name, weight in mix.items()}

    from gradproj.experiment import Experiment

    parts = {key: _instantiate(config[key]) for key in ("model", "method", "rewards")}
    for name in target:
        if not callable(parts["rewards"][name]):
            raise UserError(
                f"reward={name} has no differentiable form: it can be scored, not climbed; climb another one"
            )
    experiment = Experiment(**parts, target=target, prompts=prompts, **{key: plain[key] for key in LOOP})
    experiment.check()

    weights = {"model": dict(parts["model"].weights)} | {
        name: dict(one.weights) for name, one in parts["rewards"].items()
    }
    names = {"model": model, "method": method, "reward": "+".join(target)}
    science = {"names": names} | {key: plain[key] for key in SCIENCE} | {"prompts": prompts, "weights": weights}
    run = Run.create(Path(plain["results"]), science, describe(parts["model"].device))
    images = [(prompt, seed) for prompt in range(len(prompts)) for seed in range(plain["seeds"])]
    mine = images[plain["shard"] :: plain["shards"]]
    done = run.done()
    missing = [image for image in mine if run.name(*image) not in done]
    print(f"{run.folder}: {len(mine) - len(missing)} of {len(mine)} images recorded, {len(missing)} to do", flush=True)
    try:
        _conclude(run, experiment.complete(run, missing, plain["batch"]))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise UserError(f"no space left for {run.folder}: make room, then give the same command again") from error
    return run.folder


def _conclude(run: Run, failed: int) -> None:
    if failed:
        _failed.append(run.folder.name)
        print(f"{failed} images failed, see {run.images}/*.failed; the same command tries them again", file=sys.stderr)
    if run.done():
        from gradproj import report

        print(report.summary(run.folder))
        print(f"records:      {run.images}")
        print(f"before/after: {before_after(run.images) or 'no PNGs here'}")


def _instantiate(node: DictConfig) -> Any:
    """``hydra.utils.instantiate`` with what went wrong as a ``UserError``."""
    try:
        return instantiate(node)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise UserError(" ".join(str(error).split())) from error
