"""Score finished runs' saved pictures with another reward: ``python scripts/rescore.py pickscore results/runs/<run>``.

Several runs may be given, and settings of the reward, ``rewards.pickscore.repo=/folder``. Nothing is optimised again
and no record changes: the scores go to ``<run>/scores/<reward>.csv``, where `make table` finds them.
"""

import argparse
import sys
from pathlib import Path

from gradproj.errors import UserError
from gradproj.records import Run
from gradproj.rescore import rescore
from gradproj.run import compose_reward


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reward", help="the name of a file in configs/rewards")
    parser.add_argument("arguments", nargs="+", metavar="RUN|KEY=VALUE", help="folders results/runs/<run id>; settings")
    given = parser.parse_args()
    try:
        runs = [Run.open(Path(one)) for one in given.arguments if "=" not in one]
        reward, settings = compose_reward(given.reward, [one for one in given.arguments if "=" in one])
        for run in runs:
            print(f"{run.folder}: {rescore(run, given.reward, reward, settings)} images scored")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
