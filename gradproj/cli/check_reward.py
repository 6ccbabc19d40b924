"""Try a reward of your own against what a run asks of it: ``gradproj check-reward named_colour --config-dir FOLDER``.

Every line names a promise of docs/rewards.md and says whether it is kept. Settings are given as for a run
(``rewards.NAME.KEY=VALUE``).
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PROMPTS = ["a red ring", "a blue square and a white circle", "an orange cross and a black triangle"]


def main(arguments: list[str]) -> int:
    """Check every promise; returns 0 where all are kept, else 1."""
    parser = argparse.ArgumentParser(
        prog="gradproj check-reward", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reward", help="the name of a file in configs/rewards, or in rewards/ of --config-dir")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="the reward's, as for gradproj run")
    parser.add_argument("--config-dir", type=Path, help="a folder with YAML files of your own, as for gradproj run")
    parser.add_argument("--prompt", action="append", help=f"one that the reward can read; again for more: {PROMPTS[0]}")
    given = parser.parse_intermixed_args(arguments)
    settings = [*given.settings]
    if given.config_dir:
        if not given.config_dir.is_dir():
            parser.error(f"--config-dir {given.config_dir} is no folder")
        settings.append(f"hydra.searchpath=['file://{given.config_dir.resolve()}']")
    from gradproj.execution.contract import reward_checks
    from gradproj.execution.settings.compose import compose_reward

    reward, _ = compose_reward(given.reward, settings)
    print(f"{given.reward} ({type(reward).__module__}.{type(reward).__qualname__}):")
    if not callable(reward):
        print("  it has no __call__: it can be scored, not climbed")
    kept = [_kept(check, reward, given.prompt or PROMPTS) for check in reward_checks(reward)]
    return 0 if all(kept) else 1


def _kept(check: Callable[[Any, Sequence[str]], None], reward: Any, prompts: Sequence[str]) -> bool:
    """Print and return whether ``check`` finds its promise kept. A mistake in the reward's code breaks it, too."""
    from gradproj.execution.contract import Broken
    from gradproj.execution.protocol import MISTAKES

    promise = " ".join((check.__doc__ or "").split())
    try:
        check(reward, prompts)
    except (Broken, ValueError, RuntimeError, *MISTAKES) as error:
        reason = error if isinstance(error, Broken) else f"{type(error).__name__}: {error}"
        print(f"  BROKEN  {promise}\n          {reason}", flush=True)
        return False
    print(f"  kept    {promise}", flush=True)
    return True
