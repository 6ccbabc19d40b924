"""The command line before Hydra composes it, by Hydra's own grammar; and Hydra's complaints, each in one line."""

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig

from gradproj.errors import UserError
from gradproj.execution.settings.typed import suggest

PACKAGE = Path(__file__).parents[2]
TERM = re.compile(r"(?<!\$)[{,]\s*\w+\s*:")  # of a mix of rewards, as it is typed
COMPLAINTS = (HydraException, yaml.YAMLError)  # what composing raises besides OmegaConf's own; see ``explained``


def data_folder(name: str) -> Path:
    """``configs`` or ``prompts``: inside an installed package, at the root of a checkout."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name


def understood(arguments: Sequence[str]) -> list[str]:
    """``arguments`` for Hydra, with the set of rewards that has the target, where none was said.

    Raises ``UserError`` for what Hydra would misunderstand, or refuse with a traceback.
    """
    configs = data_folder("configs")
    groups = [folder.name for folder in configs.iterdir() if folder.is_dir()]
    for override in filter(None, map(_override, arguments)):
        key = override.key_or_group
        if not key:
            raise UserError(f"{override.input_line!r} has no key before the =: type KEY=VALUE")
        for value in _values(override):
            if key in groups and not override.is_delete() and not _is_choice(value, several=key == "rewards"):
                raise UserError(
                    f"{override.input_line!r} is not a choice of {key}: expected {', '.join(_choices(configs / key))}"
                )
        if key == "reward" and len(TERM.findall(override.input_line or "")) > len(list(_terms(override))):
            raise UserError(f"{override.input_line!r} names a reward twice, and only the last weight would count")
    return choose_rewards(arguments, configs / "rewards")


def quoted(text: str) -> str:
    """``text`` as a value, whatever is in it."""
    return QuotedString(text.replace("${", "\\${"), Quote.single).with_quotes()


def choose_rewards(arguments: Sequence[str], folder: Path) -> list[str]:
    """``arguments`` with ``rewards=SET``, the set in ``folder`` that has the target, unless they say what is scored."""
    overrides = [_override(argument) for argument in arguments]
    keys = [override.key_or_group if override else None for override in overrides]
    if "reward" not in keys or "rewards" in keys:
        return list(arguments)
    at = keys.index("reward")
    target = overrides[at]
    names = {name for name in map(str, _terms(target) if target else ()) if (folder / f"{name}.yaml").is_file()}
    for file in sorted(folder.glob("*.yaml")):
        if names and names <= set(_members(file)):
            return [*arguments[: at + 1], f"rewards={file.stem}", *arguments[at + 1 :]]  # beside its like: argparse
    return list(arguments)


def check_launcher(hydra: Any, arguments: Sequence[str]) -> None:
    """``UserError`` where a launcher other than Hydra's own is chosen for one run: Hydra would make it here, silently.

    ``hydra`` is the node of that name in the composed configuration, ``arguments`` what was typed.
    """
    launcher = hydra.runtime.choices["hydra/launcher"]
    if hydra.mode is RunMode.RUN and launcher != "basic":
        raise UserError(
            f"hydra/launcher={launcher} takes effect for a sweep only: type gradproj run -m {shlex.join(arguments)}"
        )


def explained(error: Exception) -> str:
    """What Hydra, OmegaConf or a YAML file is refused for, in one line that says what to type."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        options = error.options or _choices(data_folder("configs") / group)
        return f"{group}={name}: no such choice: {suggest(name, options)} ({group}: {', '.join(options)})"
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, error.message)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        place = f"{error.problem_mark.name}, line {error.problem_mark.line + 1}"
        return f"{place}: {error.problem}: mend the YAML file there, or just above"
    if getattr(error.__cause__, "full_key", None):
        return _unknown(error.__cause__)
    if "Ambiguous value for argument" in str(error):
        argument = str(error).split("'")[1]
        return f"{argument} has several values: for a run of each type -m before it; a single value is quoted"
    return in_short(error)


def _unreadable(override: str, reason: str) -> str:
    key, _, value = override.partition("=")
    if value.startswith("~"):
        meant = os.path.expanduser(value)  # noqa: PTH111  # pathlib's raises for an unknown user
        return f"{override}: here ~ is not your home folder: type {key}={meant if meant != value else '/...'}"
    reason = " ".join(reason.split("See https")[0].split())
    advice = """quote what the shell would change, such as 'prompts=["a red ring"]'"""
    return f"{override!r} cannot be read ({reason}): it must be KEY=VALUE; {advice}"


def _unknown(cause: Any) -> str:
    """``cause``: OmegaConf's error about a key that a node does not have."""
    before, _, last = str(cause.full_key).rpartition(".")
    if not isinstance(cause.parent_node, DictConfig):
        return f"{before} is a single value, without a {last} in it: type {before}=VALUE"
    known = [str(key) for key in cause.parent_node if key != "hydra"]
    near = suggest(last, known)
    added = "" if near.startswith("did") else f"; what the YAML files leave out is added by +{cause.full_key}=VALUE"
    return f"there is no key {cause.full_key}: {near}{added}"


def in_short(error: Exception) -> str:
    """Hydra's message without its search path and its advice for programmers, in one line."""
    return " ".join(str(error).split("Config search path")[0].split("\nTo append to your config")[0].split())


def _override(argument: str) -> Override | None:
    """An argument as Hydra reads it; None for an option, and for what Hydra will refuse."""
    try:
        return None if argument.startswith("-") else OverridesParser.create().parse_override(argument)
    except HydraException:
        return None


def _values(override: Override) -> Iterator[Any]:
    """What an override sets, each value of a sweep."""
    values = override.sweep_iterator() if override.is_discrete_sweep() else [override.value()]
    return (value.text if isinstance(value, QuotedString) else value for value in values)


def _terms(override: Override) -> Iterator[Any]:
    """The rewards that ``reward=...`` names: by itself, in a mix, or in a list to sweep over."""
    return (name for value in _values(override) for name in (value if isinstance(value, dict) else [value]))


def _members(file: Path) -> list[str]:
    """The rewards of a set; none where the file is another's, or has a slip that Hydra will tell of."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return []
    members = content.get("defaults") if isinstance(content, dict) else None
    return [member for member in members if isinstance(member, str)] if isinstance(members, list) else []


def _is_choice(value: Any, several: bool) -> bool:
    """Whether ``value`` can name a YAML file; ``several``: or a list of them."""
    return isinstance(value, str) or (several and isinstance(value, list))


def _choices(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))
