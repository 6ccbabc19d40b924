"""Make the runs behind the committed results again: ``python scripts/reproduce.py tune`` or ``main``.

``tune`` sweeps learning rate and weight of every method on the tuning prompts into results/miniature/tuning, from which
choose.py takes its choice. ``main`` runs the five methods with two targets and two protocols on the test prompts into
results/miniature, and then the named sweeps of the ablations and of diversity into results/miniature_*. Each is a
``gradproj-run`` command (--list prints them); as many run side by side as there are cores. Type the same again after an
interruption, and it goes on.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

METHODS = ("mpgr", "prno", "reno", "none", "ours")  # those that take longest come first
TARGETS = ("shapes_aesthetic", "shapes_matcher")
RATES = {"none": "0.0025,0.005,0.01,0.02", "ours": "0.005,0.01,0.02,0.05"}
WEIGHTS = {"reno": "0.01,0.1,1,10", "prno": "0.1,1,10,100", "mpgr": "0.3,1,3,10"}


def tuning_commands() -> list[str]:
    """Every method over learning rates, and those with a weight over weights, among them the published one."""
    common = "-m prompts=shapes_tuning steps=100 batch=24 results=results/miniature/tuning"
    common += " rewards=[shapes_aesthetic,shapes_matcher,shapes_rendering]"
    commands = []
    for target in TARGETS:
        for method in METHODS:
            grid = f"method.optimizer.lr={RATES.get(method, '0.005,0.01,0.02')}"
            grid += f" method.weight={WEIGHTS[method]}" if method in WEIGHTS else ""
            commands.append(f"{common} reward={target} method={method} {grid}")
    return commands


def main_commands() -> list[str]:
    """Five methods, two targets and two protocols on 64 prompts and 2 seeds; then the ablations and diversity."""
    common = "prompts=shapes_test seeds=2 batch=32 results=results/miniature"
    return [
        f"{common} protocol={protocol} reward={target} method={method}"
        for protocol in ("common", "native")
        for method in METHODS
        for target in TARGETS
    ] + [
        f"-m +sweep={sweep} model=shapes batch=32 results=results/miniature_{sweep}"
        for sweep in ("diversity", "ablation_block", "ablation_switches")
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tune", "main"))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--list", action="store_true", help="print the commands and stop")
    arguments = parser.parse_args()
    commands = tuning_commands() if arguments.what == "tune" else main_commands()
    if arguments.list:
        print("\n".join(f"gradproj-run {command}" for command in commands))
        return
    with ThreadPoolExecutor(arguments.workers) as pool:
        codes = list(pool.map(_run, commands))
    sys.exit(1 if any(codes) else 0)


def _run(command: str) -> int:
    """Run one command in a process with a single thread; print and return its exit code."""
    program = Path(sys.executable).with_name("gradproj-run")
    code = subprocess.run(
        [program, *command.split()], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    ).returncode
    print(f"exit code {code}: gradproj-run {command}", flush=True)
    return code


if __name__ == "__main__":
    main()
