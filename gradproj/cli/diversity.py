"""Compute Inception score and Vendi score of finished runs' pictures: ``gradproj diversity results/runs/<run>``.

Several runs may be given. The numbers of the start and the kept pictures are written to ``<run>/diversity.csv``, where
`gradproj table` finds them; no record changes. A file that is still right is left alone, and one that is not is moved
aside. The miniature's pictures are judged by its classifier, all others by the Inception network, whose weights are
fetched once (96 MB, checked by their sha256), or given with --weights where there is no network.
"""

import argparse
import re
from pathlib import Path
from typing import Any

from gradproj.errors import UserError

SEED, BATCH = 2020, 32


def main(arguments: list[str]) -> int:
    """Measure every run. A refused run does not stop the others; ``UserError`` then names all that were refused."""
    given = _parser().parse_args(arguments)
    from gradproj.execution.settings.keys import DEVICE

    if not re.fullmatch(DEVICE, given.device):
        raise UserError(
            f"--device must be auto, cpu, cuda or a GPU such as cuda:1, got {given.device!r}: type --device auto"
        )
    if given.batch < 1 or not 0 <= given.seed < 2**32:
        raise UserError(f"--batch is 1 or more and --seed from 0 to 2**32 - 1; got {given.batch} and {given.seed}")
    if not given.runs and not given.prefetch:
        raise UserError("no run given; type gradproj diversity results/runs/RUN")
    refused = _prefetch(given) if given.prefetch else _measure_all(given)
    if refused:
        raise UserError("\n".join(refused))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gradproj diversity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folders results/runs/<run id>")
    parser.add_argument("--features", metavar="NAME", help="a network; default: the model's own, else inception")
    parser.add_argument("--weights", metavar="PATH", help="the feature network's file, where it is not to be fetched")
    parser.add_argument("--sha256", metavar="HEX", help="of --weights, where it is not the published file")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the permutation before the splits; default: {SEED}")
    parser.add_argument("--batch", type=int, default=BATCH, help=f"pictures seen side by side; default: {BATCH}")
    parser.add_argument("--device", default="auto", help="auto: the first GPU, else the processor; cpu; cuda:1")
    parser.add_argument("--prefetch", action="store_true", help="only fetch and check the network's weights")
    return parser


def _prefetch(given: argparse.Namespace) -> list[str]:
    """Fetch and check the weights; returns no refusals, as a failure is raised."""
    from gradproj.diversity import features

    network = _network(given, given.features or features.DEFAULT)
    print("\n".join(f"{name}: sha256 {sha256}" for name, sha256 in network.weights.items()))
    return []


def _network(given: argparse.Namespace, name: str) -> Any:
    """The network on the chosen device; ``UserError`` before it is fetched where it cannot be."""
    from gradproj.diversity import features
    from gradproj.execution import devices, weights

    def load() -> Any:
        return features.load(name, given.weights, given.sha256)

    with devices.chosen(given.device):
        if given.weights is None:
            weights.settle_making(load, "gradproj diversity --prefetch")
        return load()


def _measure_all(given: argparse.Namespace) -> list[str]:
    """Measure the runs; returns why some were refused. All pictures are looked for before a network is loaded."""
    from gradproj.diversity import features
    from gradproj.diversity.of_run import of_run, pictures
    from gradproj.runs import diversity as file
    from gradproj.runs.folder import Run

    refused, sound, networks = [], [], {}
    for folder in given.runs:
        try:
            run = Run.open(folder)
            pictures(run, file.images(run)[0])
            sound.append(run)
        except UserError as error:
            refused.append(str(error))
    for run in sound:
        name = given.features or features.of_model(run.config["names"]["model"])
        networks[name] = networks.get(name) or _network(given, name)
        try:
            new = of_run(run, name, networks[name], given.seed, given.batch)
            print(f"{run.folder / file.NAME}: {'written' if new else 'there already'}", flush=True)
        except UserError as error:
            refused.append(str(error))
    return refused
