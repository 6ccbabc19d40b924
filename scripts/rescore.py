"""Score finished runs' saved pictures with another reward: ``python scripts/rescore.py pickscore results/runs/<run>``.

Several runs may be given, and settings of the reward, ``rewards.pickscore.source.repo=/folder``. Nothing is optimised
again and no record changes: the scores go to ``<run>/scores/<reward>.csv``, where `make table` finds them. The same
command again scores what is missing.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradproj.errors import UserError
from gradproj.execution.compose import compose_reward
from gradproj.execution.rescore import rescore
from gradproj.runs.records import Run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reward", help="the name of a file in configs/rewards, or in rewards/ of --config-dir")
    parser.add_argument("arguments", nargs="+", metavar="RUN|KEY=VALUE", help="folders results/runs/<run id>; settings")
    parser.add_argument("--config-dir", type=Path, help="a folder with YAML files of your own, as for gradproj-run")
    parser.add_argument("--batch", type=int, default=8, help="pictures scored side by side; default: 8")
    given = parser.parse_intermixed_args()
    if given.batch < 1:
        parser.error(f"--batch must be at least 1, got {given.batch}")
    settings = [one for one in given.arguments if "=" in one and not Path(one).is_dir()]
    folders = [Path(one) for one in given.arguments if one not in settings]
    if not folders:
        parser.error("no run given; expected folders results/runs/<run id>")
    if given.config_dir:
        if not given.config_dir.is_dir():
            parser.error(f"--config-dir {given.config_dir} is no folder")
        settings.append(f"hydra.searchpath=['file://{given.config_dir.resolve()}']")
    try:
        runs = [Run.open(folder) for folder in folders]
        reward, values = compose_reward(given.reward, settings)
        refused = [not score(run, given.reward, reward, values, given.batch) for run in runs]
    except UserError as error:
        return complain(error)
    except OSError as error:
        return complain(f"{error.strerror}: {error.filename}")
    except KeyboardInterrupt:
        sys.exit("\nrescore: stopped; the same command goes on")
    return 2 if any(refused) else 0


def score(run: Run, name: str, reward: Any, settings: Mapping[str, Any], batch: int) -> bool:
    """Whether it went well; a run that cannot be scored does not stop the others."""
    try:
        print(f"{run.folder}: {rescore(run, name, reward, settings, batch)} images scored", flush=True)
    except UserError as error:
        complain(error)
        return False
    return True


def complain(message: object) -> int:
    print(f"rescore: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
