"""Rebuild the miniature's weights from a seed: ``python scripts/train_miniature.py --help``.

The stages are the generator, the three reward networks and the classifier; a GPU is used where there is one. A stage
that has ended is not repeated, and one that was killed goes on from its last checkpoint in --work. --only trains one
network: it depends on the seed alone, the matcher on the finished generator, too.
"""

import argparse
import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from tqdm import tqdm

from gradproj.miniature import judging, teacher
from gradproj.miniature.generator import Generator
from gradproj.miniature.networks import Classifier, CrossMatcher, DualEncoder, Regressor
from gradproj.miniature.training import Loss, adam, fit, muon
from gradproj.types import default_device

WEIGHTS = Path(__file__).parents[1] / "gradproj" / "miniature" / "weights"

Network = TypeVar("Network", bound=nn.Module)
UNFINISHED = "matcher-of-renderings"  # the matcher before it has seen generated pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("checkpoints/miniature"), help="checkpoints")
    parser.add_argument(
        "--out", type=Path, help="where the finished weights go (default: the package, for a trial beside --work)"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies every stage's steps; 0.01 is a trial run")
    alone = ("generator", "aesthetic", "heldout", "classifier", UNFINISHED, "matcher")
    parser.add_argument("--only", choices=alone, help="train this network alone and leave the other files as they are")
    arguments = parser.parse_args()
    if arguments.out is None:  # a trial run leaves the shipped weights alone
        arguments.out = WEIGHTS if arguments.scale == 1 else arguments.work / f"trial-{arguments.scale:g}"
    arguments.work = arguments.work / f"seed{arguments.seed}-scale{arguments.scale:g}"
    for folder in (arguments.work, arguments.out):
        folder.mkdir(parents=True, exist_ok=True)

    def stage(name: str, build: Callable[[], nn.Module], loss, steps: int, lr: float, optimizers=adam) -> None:
        train(name, build, loss, max(int(steps * arguments.scale), 20), lr, optimizers, arguments)

    def wanted(name: str) -> bool:
        return arguments.only in (None, name)

    if wanted("generator"):
        stage("generator", teacher.beginner, lambda net: teacher.drawing_loss(net, 64), 9000, 2e-3, muon)
    if wanted("heldout"):
        stage("heldout", CrossMatcher, lambda net: judging.matching_loss(net, 96), 6000, 2e-3, muon)
    judges: dict[str, tuple[Callable[[], nn.Module], Callable[..., Loss], int, float]] = {
        "aesthetic": (Regressor, judging.regression_loss, 3000, 1e-3),
        "classifier": (Classifier, judging.classification_loss, 4000, 2e-3),
        UNFINISHED: (DualEncoder, judging.contrastive_loss, 2000, 1e-3),
    }
    for name, (build, loss, steps, lr) in judges.items():
        if wanted(name) or (name == UNFINISHED and wanted("matcher")):
            stage(name, build, lambda net, loss=loss: loss(net, 96), steps, lr)
    if wanted("matcher"):
        generator = load(Generator, arguments.out / "generator.safetensors")
        last = partial(judging.contrastive_loss, batch=96, generated=generator)
        stage("matcher", lambda: load(DualEncoder, arguments.work / f"{UNFINISHED}.safetensors"), last, 600, 3e-4)
    write_sums(arguments.out)


def train(name: str, build, loss, steps: int, lr: float, optimizers, arguments) -> None:
    """Train one network to its end; its safetensors file goes to --out, or to --work for what is not shipped."""
    folder = arguments.work if name == UNFINISHED else arguments.out
    path, done = folder / f"{name}.safetensors", arguments.work / f"{name}.done"
    if done.exists() and path.exists():
        return
    torch.manual_seed(arguments.seed)
    network = build().to(default_device())
    rng = torch.Generator().manual_seed(arguments.seed)
    recent = None
    checkpoint = arguments.work / f"{name}.checkpoint"
    with tqdm(total=steps, desc=name, mininterval=5) as bar:
        for step, value in fit(network, loss(network), steps, lr, rng, checkpoint, optimizers):
            recent = value if recent is None else 0.98 * recent + 0.02 * value
            bar.set_postfix(loss=f"{recent:.4f}", refresh=False)
            bar.update(step + 1 - bar.n)
    save_file({name: tensor.cpu() for name, tensor in network.state_dict().items()}, path)
    done.touch()


def load(build: Callable[[], Network], path: Path) -> Network:
    """The network with the weights of a finished stage."""
    network = build().to(default_device())
    network.load_state_dict(load_file(path))
    return network


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS of the finished files, in the format of sha256sum."""
    files = sorted(folder.glob("*.safetensors"))
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))


if __name__ == "__main__":
    main()
