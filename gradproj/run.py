"""The Hydra edge, ``gradproj-run``: compose, check, name the run, complete what is missing, say what came out.

Torch and everything that needs it is imported once there is work, so that ``--help`` and bad input answer at once.
"""

import errno
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gradproj import inputs, scores
from gradproj.environment import COMMAND, describe
from gradproj.errors import Incomplete, UserError
from gradproj.pictures import before_after
from gradproj.plan import Cell, cell, total
from gradproj.records import Run

PACKAGE = Path(__file__).parent
LOOP = ("steps", "keep", "score_every", "max_skips")
SCIENCE = ("protocol", *LOOP, "model", "method", "reward", "rewards")
# Where a part comes from and how it fits in memory: no part of the science, which names the weights themselves.
ELSEWHERE = {"repo", "revision", "variant", "vae_repo", "vae_revision", "cache", "text_encoder_device"}
ELSEWHERE |= {"checkpointing", "decoder_checkpointing", "tokenizer", "tokenizer_revision", "predictor", "architecture"}
ELSEWHERE |= {"sha256", "tokenizer_sha256", "predictor_sha256"}
_failed: list[int] = []  # images of the run under way that failed


def data_folder(name: str) -> Path:
    """``configs`` or ``prompts``: inside an installed package, at the root of a checkout."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name


def main() -> None:
    """``gradproj-run``. Exit code 0: all recorded, 1: some images are not, 2: a message says what to change."""
    os.environ[COMMAND] = json.dumps([Path(sys.argv[0]).name, *sys.argv[1:]])
    _apply(_run)
    sys.exit(0)


def plan() -> None:
    """``gradproj-plan``, with the arguments of a ``gradproj-run``: what that would do. Does nothing itself."""
    sys.argv[1:] = [one for one in sys.argv[1:] if not one.startswith("hydra/launcher=")]
    cells: list[Cell] = []
    _apply(lambda config: cells.append(_plan(config)))
    print(total(cells))


def _apply(task: Callable[[DictConfig], None]) -> None:
    """Hydra's main on ``task``, its failures turned into messages and exit codes."""
    application = hydra.main(version_base="1.3", config_path=str(data_folder("configs")), config_name="config")(task)
    sys.argv[1:] = inputs.choose_rewards(sys.argv[1:], data_folder("configs") / "rewards")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would print over many lines, and leaves it to us
    try:
        application()
    except UserError as error:
        sys.exit(_complain(str(error)))
    except Incomplete as error:
        _complain(str(error))
        sys.exit(1)
    except (HydraException, OmegaConfBaseException) as error:
        message = str(error).split("Config search path")[0].split("\nTo append to your config")[0]
        hint = (
            "pip install 'gradproj[slurm]'" if "submitit_slurm" in message else "gradproj-run --help lists the choices"
        )
        sys.exit(_complain(f"{' '.join(message.split())} ({hint})"))
    except OSError as error:
        sys.exit(_complain(f"{error.strerror}: {error.filename}"))
    except RuntimeError as error:
        if not type(error).__module__.startswith("submitit"):
            raise
        last = str(error).strip().splitlines()[-1]
        _complain(
            f"a task of the cluster was lost or refused ({last}); its logs are in results/logs; give the same command"
        )
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit("\ngradproj-run: stopped; the same command goes on")


def _run(config: DictConfig) -> None:
    choices = HydraConfig.get().runtime.choices
    _failed.clear()
    run_once(config, model=choices["model"], method=choices["method"])
    if _failed:  # Hydra passes an exception on from any worker, and lets the other cells of a sweep go on
        raise Incomplete(f"{sum(_failed)} images failed; the same command tries them again, gradproj-status tells why")


def _plan(config: DictConfig) -> Cell:
    choices = HydraConfig.get().runtime.choices
    plain = inputs.check(config)
    prompts = inputs.read_prompts(plain["prompts"], data_folder("prompts"))
    target = [plain["reward"]] if isinstance(plain["reward"], str) else list(plain["reward"])
    if plain["held_out"] == "after":
        plain["rewards"] = {name: plain["rewards"][name] for name in target}
    science = _named(choices["model"], choices["method"], target, plain) | {"prompts": prompts}
    one = cell(science, _mine(plain, len(prompts)), plain["max_retries"], Path(plain["results"]))
    print(one.line())
    return one


def _named(model: str, method: str, target: Sequence[str], plain: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's name covers, without prompts and weights."""
    names = {"model": model, "method": method, "reward": "+".join(target)}
    return {"names": names} | {key: _science(plain[key]) for key in SCIENCE}


def _mine(plain: Mapping[str, Any], prompts: int) -> list[tuple[int, int]]:
    """The images (prompt id, seed) of this worker's shard."""
    return [(prompt, seed) for prompt in range(prompts) for seed in range(plain["seeds"])][
        plain["shard"] :: plain["shards"]
    ]


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

    now = list(target) if plain["held_out"] == "after" else list(plain["rewards"])
    for name in plain["rewards"].keys() - now:
        _meet(_instantiate(config["rewards"][name]), name, prompts)  # and gone again, before the generator comes
    plain["rewards"] = {name: plain["rewards"][name] for name in now}
    parts = {key: _instantiate(config[key]) for key in ("model", "method")}
    parts["rewards"] = {name: _instantiate(config["rewards"][name]) for name in now}
    for name in target:
        if not callable(parts["rewards"][name]):
            raise UserError(
                f"reward={name} has no differentiable form: it can be scored, not climbed; climb another one"
            )
    experiment = Experiment(**parts, target=target, prompts=prompts, **{key: plain[key] for key in LOOP})
    experiment.check(min(plain["batch"], len(prompts) * plain["seeds"]))

    weights = {"model": dict(parts["model"].weights)} | {
        name: dict(one.weights) for name, one in parts["rewards"].items()
    }
    science = _named(model, method, list(target), plain) | {"prompts": prompts, "weights": weights}
    environment = describe(parts["model"].device) | {"weights": weights, "model": plain["model"]}
    run = Run.create(Path(plain["results"]), science, environment)
    mine = _mine(plain, len(prompts))
    run.ask(plain["seeds"])
    done = run.recorded()
    given_up = {name for name, attempts in run.failures().items() if len(attempts) > plain["max_retries"]}
    missing = [image for image in mine if run.name(*image) not in done | given_up]
    recorded, lost = (sum(run.name(*image) in names for image in mine) for names in (done, given_up))
    print(f"{run.folder}: {recorded} of {len(mine)} images recorded, {len(missing)} to do", flush=True)
    if lost:
        print(f"{lost} failed {plain['max_retries'] + 1} times and are left alone: max_retries=... tries them again")
    try:
        failed = experiment.complete(run, missing, plain["batch"])
        parts.clear()
        del experiment  # the held-out rewards get the memory that the generator had
        own = {run.name(*image) for image in mine}
        _score_after(run, config, [name for name in config["rewards"] if name not in now], plain["batch"], own)
        _failed.extend(count for count in (failed, lost) if count)
        _conclude(run, failed, own)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise UserError(f"no space left for {run.folder}: make room, then give the same command again") from error
    return run.folder


def _meet(reward: Any, name: str, prompts: Sequence[str]) -> None:
    """A reward that scores after the work is tried before it: its files, its settings, the prompts."""
    try:
        for start in range(0, len(prompts) if hasattr(reward, "encode") else 0, 1024):
            reward.encode(prompts[start : start + 1024])
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{name} cannot score these prompts: {error}") from error


def _score_after(run: Run, config: DictConfig, names: list[str], batch: int, images: set[str]) -> None:
    """The rewards of ``held_out=after``, one after another, from the saved pictures of this worker's images."""
    from gradproj.rescore import rescore

    there = scores.read(run)
    recorded = images & run.recorded()
    for name in names:
        if name in there and recorded <= there[name].values.keys():
            continue
        settings = _science(OmegaConf.to_container(config["rewards"][name], resolve=True))
        rescore(run, name, _instantiate(config["rewards"][name]), settings, batch, recorded)


def compose_reward(name: str, overrides: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """The reward of ``configs/rewards/<name>.yaml`` and its settings, as a run that scores it would have them."""
    try:
        with hydra.initialize_config_dir(str(data_folder("configs")), version_base="1.3"):
            node = hydra.compose("config", [f"rewards=[{name}]", *overrides])["rewards"][name]
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(" ".join(str(error).split("Config search path")[0].split())) from error
    return _instantiate(node), _science(OmegaConf.to_container(node, resolve=True))


def _conclude(run: Run, failed: int, own: set[str]) -> None:
    if failed:
        print(f"{failed} images failed, see {run.images}/*.failed; the same command tries them again", file=sys.stderr)
    if run.recorded():
        from gradproj import report

        try:
            print(report.summary(run.folder))
        except UserError as error:
            if run.damaged(own):
                raise
            print(f"no summary: {error}", file=sys.stderr)  # another worker's record: this one's own are whole
        print(f"records:      {run.images}")
        print(f"before/after: {before_after(run.images) or 'no PNGs here'}")


def _science(value: Any) -> Any:
    """``value`` without the keys of ELSEWHERE in gradproj's own parts; another one's settings all count."""
    if isinstance(value, dict):
        own = str(value.get("_target_", "")).startswith("gradproj.")
        return {key: _science(one) for key, one in value.items() if not (own and key in ELSEWHERE)}
    return value


def _instantiate(node: DictConfig) -> Any:
    """``hydra.utils.instantiate`` with what went wrong as a ``UserError``."""
    try:
        return instantiate(node)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        if isinstance(error.__cause__, ImportError):
            reason = " ".join(str(error.__cause__).split())
            raise UserError(f"{reason} (a module of your own is found through PYTHONPATH=FOLDER)") from error
        raise UserError(" ".join(str(error).split())) from error
