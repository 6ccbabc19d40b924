"""Make the runs behind the committed results again: ``python scripts/reproduce.py tune``, ``main``, or both: ``all``.

``tune`` sweeps learning rate and weight of every method on the tuning prompts into results/miniature/tuning, lets
choose.py choose, and goes on beyond the edges of the grid until no choice lies at one, or at its bound alone. ``main``
runs all methods with three targets on the test prompts into results/miniature, and the named sweeps of the ablations
and of diversity into results/miniature_*. Each is a ``gradproj-run`` command (--list prints
them), the longest first; as many run side by side as --workers says. Type the same again after an interruption, and it
goes on.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import choose
import tuning
import yaml

from gradproj.errors import UserError
from gradproj.execution.settings.compose import compose_run

MIX = "{shapes_aesthetic:1,shapes_matcher:5}"
LIKE = "shapes_aesthetic"  # the target whose rates and weights the mix takes, which is not tuned itself
STEPS = 100  # of every run but diversity's
DIVERSITY = {"ours": 28, "none": 34}  # the steps to the level of the tuning: pictures of an equal target are compared
OWN = "planar_low_pass"  # judged once, at the rates of scripts/candidates.py
COST = {"prno": 2.5}  # of a step, in steps of none
SWEEPS = {
    "ablation_block": 64 * 7,
    "ablation_switches": 64 * 4,
    "ablation_guard": 64 * 4,
}  # images
Commands = list[list[str]]


def tuning_commands(folder: Path = tuning.FOLDER) -> Commands:
    """Every method over the first learning rates, and those with a weight over the first weights."""
    methods = sorted(tuning.METHODS, key=lambda method: -COST.get(method, 1))
    return [
        command
        for method in methods
        for target in tuning.TARGETS
        for command in tuning.commands(target, method, tuning.first(method), folder)
    ]


def main_commands() -> Commands:
    """All methods, three targets, 64 prompts, seeds that no tuning saw; ablations; diversity."""
    common = ["prompts=shapes_test", "batch=32", "results=results/miniature"]
    costs: list[tuple[float, list[str]]] = []  # in images x steps of none
    for sweep, images in SWEEPS.items():
        folder = f"results=results/miniature_{sweep}"
        costs.append((images * STEPS, ["-m", f"+sweep={sweep}", "model=shapes", f"steps={STEPS}", "batch=32", folder]))
    for method in (*tuning.METHODS, OWN):
        images_and_steps = 64 * 4 * STEPS * COST.get(method, 1)
        four = [*common, f"steps={STEPS}", "seeds=[1,2,3,4]", f"method={method}"]
        costs += [(images_and_steps, [*four, f"reward={target}"]) for target in tuning.TARGETS]
        costs.append((images_and_steps, [*four, f"reward={MIX}", *_tuned(method)]))
    for method, steps in DIVERSITY.items():
        many = ["-m", "+sweep=diversity", "model=shapes", f"steps={steps}", f"method={method}", "batch=32"]
        costs.append((64 * 25 * steps, [*many, "results=results/miniature_diversity"]))
    return [command for _, command in sorted(costs, key=lambda pair: -pair[0])]


def tune(workers: int, folder: Path = tuning.FOLDER, more: Sequence[str] = ()) -> bool:
    """Sweep, choose, and go on beyond the edges; whether all of it went well."""
    commands = tuning_commands(folder)
    while commands:
        if not run(commands, workers, more):
            return False
        rows = choose.read(folder)
        choose.report(rows, folder)
        commands = choose.extensions(rows, folder)
    return True


def main_runs(workers: int, more: Sequence[str] = ()) -> bool:
    """The runs of the main comparison, of the ablations and of diversity; whether all went well."""
    return run(main_commands(), workers, more)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tune", "main", "all"))
    parser.add_argument(
        "--workers", type=_positive, default=os.cpu_count() or 1, help="commands side by side (default: cores)"
    )
    parser.add_argument("--list", action="store_true", help="print the commands and stop")
    parser.add_argument("--with", dest="more", nargs="+", default=[], help="KEY=VALUE for every command: batch=256")
    arguments = parser.parse_args()
    try:
        compose_run(arguments.more)  # what no command would take is refused before the first of them
    except UserError as error:
        parser.error(f"--with: {error}")
    parts = ("tune", "main") if arguments.what == "all" else (arguments.what,)
    if arguments.list:
        commands = [command for part in parts for command in (tuning_commands if part == "tune" else main_commands)()]
        print("\n".join(tuning.typed([*command, *arguments.more]) for command in commands))
        return
    for part in parts:
        began = time.monotonic()
        make = tune if part == "tune" else main_runs
        well = make(arguments.workers, more=arguments.more)
        print(f"{part} took {_clock(time.monotonic() - began)} with {arguments.workers} workers")
        if not well:
            sys.exit(1)


def run(commands: Iterable[Sequence[str]], workers: int, more: Sequence[str] = ()) -> bool:
    """Run the commands, each with ``more``, as many side by side as there are ``workers``; whether all went well."""
    with ThreadPoolExecutor(workers) as pool:
        return not any(list(pool.map(_run, ([*command, *more] for command in commands))))


def _run(command: Sequence[str]) -> int:
    """Run one command in a process with a single thread; print how long it took; return its exit code."""
    program, began = Path(sys.executable).with_name("gradproj-run"), time.monotonic()
    code = subprocess.run([program, *command], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False).returncode
    print(f"exit code {code} after {_clock(time.monotonic() - began)}: {tuning.typed(command)}", flush=True)
    return code


def _tuned(method: str) -> list[str]:
    """What was chosen for the method with the target LIKE, as settings; nothing where nothing was."""
    model = yaml.safe_load(Path("configs/model/shapes.yaml").read_text(encoding="utf-8"))
    chosen = model["tuned"][LIKE].get(method, {})
    names = {"lr": "method.optimizer.lr", "weight": "method.weight"}
    return [f"{names[key]}={value:g}" for key, value in chosen.items()]


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"give a whole number above 0, not {text!r}")
    return int(text)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


if __name__ == "__main__":
    main()
