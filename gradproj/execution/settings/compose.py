"""Settings composed from the YAML files outside of a command: of a run, of one reward, or of a run made earlier."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.version import VersionBase, setbase
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from gradproj.errors import UserError
from gradproj.execution.settings import keys
from gradproj.execution.settings.overrides import COMPLAINTS, data_folder, explained, understood
from gradproj.execution.settings.parts import make
from gradproj.runs.naming import is_own, named_settings, with_sources

VERSION = "1.3"  # of Hydra, whose behaviour is meant
WHERE = re.compile(r"device=|(model|rewards\.\w+)\.(source|memory)[.=]")
KNOWN = re.compile(r"gradproj\.(models|rewards)\.\w+\.[A-Z]\w*|gradproj\.methods\.\w+\.method|torch\.optim\.[A-Z]\w*")


def compose_run(overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The checked settings of the run that ``gradproj run`` with these ``overrides`` is, and its choices.

    The choices are the names of the YAML files: {"model": "shapes", "method": "ours", ...}. ``UserError`` for what the
    command refuses before it reads the prompts.
    """
    with _apart():
        understandable = understood(overrides)
    composed = _compose(understandable, whole=True)
    choices = dict(composed.hydra.runtime.choices)
    with open_dict(composed):
        del composed["hydra"]
    return keys.check(composed), choices


def compose_reward(name: str, overrides: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """The reward of ``configs/rewards/<name>.yaml`` and its settings, as a run that scores it would have them."""
    composed = _compose([f"rewards=[{name}]", *overrides])
    try:
        node: Any = OmegaConf.to_container(composed.rewards[name], resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(explained(error)) from error
    return make(node, f"rewards.{name}", composed.device), named_settings(node)


def compose_stored(config: Mapping[str, Any], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A run's stored config for ``parts.parts``: where gradproj's parts are, and how they fit, is as said today.

    That is by the YAML files that the run was made of and ``overrides`` (``model.source.repo=/folder``, ``device=cpu``)
    because a run's config.yaml leaves it out. Nothing else of a run can be changed: ``UserError`` for an override of
    another key.
    """
    for override in overrides:
        if not WHERE.match(override.lstrip("+")):
            raise UserError(
                f"{override} would make another image than the recorded one: only where weights come from, how they "
                "fit in memory and the device can be said, such as model.source.repo=/folder or device=cpu; for other "
                "settings type gradproj run"
            )
    rewards = [name for name, settings in config["rewards"].items() if is_own(settings)]
    model = [f"model={config['names']['model']}"] if is_own(config["model"]) else []
    composed = _compose([*model, f"rewards=[{','.join(rewards)}]", *overrides])
    today = {
        key: OmegaConf.to_container(composed[key], resolve=True) for key in ("model", "rewards") if key in composed
    }
    stored = {key: with_sources(value, today.get(key)) for key, value in config.items()}
    return stored | {"device": composed.device}


def unknown_code(config: Any, key: str = "") -> Iterator[str]:
    """``key._target_=module.name`` of all that making the parts of ``config`` would call beside what gradproj brings.

    That is its own models, rewards and methods, and torch's optimisers. Nothing is imported to find out.
    """
    if isinstance(config, list):
        config = dict(enumerate(config))
    if isinstance(config, Mapping):
        if "_target_" in config and not KNOWN.fullmatch(str(config["_target_"])):
            yield f"{key}_target_={config['_target_']}"
        for name, value in config.items():
            yield from unknown_code(value, f"{key}{name}.")


def _compose(overrides: Sequence[str], whole: bool = False) -> DictConfig:
    """The configuration; ``whole``: with Hydra's own node in it."""
    try:
        with _apart(), hydra.initialize_config_dir(str(data_folder("configs")), version_base=VERSION):
            return hydra.compose("config", list(overrides), return_hydra_config=whole)
    except (*COMPLAINTS, OmegaConfBaseException) as error:
        raise UserError(explained(error)) from error


@contextmanager
def _apart() -> Iterator[None]:
    """Hydra's global state is the caller's again afterwards: a program of his own may use Hydra, too."""
    state, version = GlobalHydra.instance(), VersionBase.instance()
    before = state.hydra, version.version_base
    state.hydra = None
    setbase(VERSION)
    try:
        yield
    finally:
        GlobalHydra.set_instance(state)
        state.hydra, version.version_base = before
