"""Rebuild the miniature's weights from a seed: ``python scripts/train_miniature.py --help``.

The stages are a flow, pairs of noise and pictures that it makes, the flow's distillation to one step, the three reward
networks and the classifier; a GPU is used where there is one. A stage that has ended is not repeated, and one that was
killed goes on from its last checkpoint in --work. Every stage but the generator depends on the seed alone, so that
--only can train it without the others.
"""

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from tqdm import tqdm

from gradproj.miniature import losses
from gradproj.miniature.networks import Classifier, CrossMatcher, DualEncoder, FlowUNet, Regressor
from gradproj.miniature.render import sample_captions
from gradproj.miniature.training import Loss, fit
from gradproj.types import default_device

WEIGHTS = Path(__file__).parents[1] / "gradproj" / "miniature" / "weights"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("checkpoints/miniature"), help="checkpoints and pairs")
    parser.add_argument(
        "--out", type=Path, help="where the finished weights go (default: the package, for a trial beside --work)"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies every stage's steps; 0.01 is a trial run")
    alone = ("aesthetic", "matcher", "heldout", "classifier")
    parser.add_argument("--only", choices=alone, help="train this network alone and leave the other files as they are")
    arguments = parser.parse_args()
    if arguments.out is None:  # a trial run leaves the shipped weights alone
        arguments.out = WEIGHTS if arguments.scale == 1 else arguments.work / f"trial-{arguments.scale:g}"
    arguments.work = arguments.work / f"seed{arguments.seed}-scale{arguments.scale:g}"
    for folder in (arguments.work, arguments.out):
        folder.mkdir(parents=True, exist_ok=True)

    def stage(name: str, build: Callable[[], nn.Module], loss, steps: int, lr: float) -> Any:
        return train(name, build, loss, max(int(steps * arguments.scale), 20), lr, arguments)

    if arguments.only is None:
        teacher: FlowUNet = stage("flow", FlowUNet, lambda net: losses.flow_loss(net, 128), 6000, 1e-3)
        pairs = make_pairs(teacher, max(int(40960 * arguments.scale), 1024), arguments)
        stage("generator", lambda: teacher, lambda net: losses.distillation_loss(net, *pairs, 128), 3000, 5e-4)
    judges: dict[str, tuple[Callable[[], nn.Module], Callable[..., Loss], int, float]] = {
        "aesthetic": (Regressor, losses.regression_loss, 2500, 1e-3),
        "matcher": (DualEncoder, losses.contrastive_loss, 3500, 1e-3),
        "heldout": (CrossMatcher, losses.matching_loss, 4000, 1e-3),
        "classifier": (Classifier, losses.classification_loss, 4000, 2e-3),
    }
    for name, (build, loss, steps, lr) in judges.items():
        if arguments.only in (None, name):
            stage(name, build, lambda net, loss=loss: loss(net, 128), steps, lr)
    write_sums(arguments.out)


def train(name: str, build, loss, steps: int, lr: float, arguments) -> Any:
    """Train one network to its end and write its safetensors file into --out, or into --work for the flow."""
    torch.manual_seed(arguments.seed)
    network = build().to(default_device())
    path = (arguments.work if name == "flow" else arguments.out) / f"{name}.safetensors"
    done = arguments.work / f"{name}.done"
    if done.exists() and path.exists():
        network.load_state_dict(load_file(path))
        return network
    generator = torch.Generator().manual_seed(arguments.seed)
    checkpoint = arguments.work / f"{name}.checkpoint"
    recent = None
    with tqdm(total=steps, desc=name, mininterval=5) as bar:
        for step, value in fit(network, loss(network), steps, lr, generator, checkpoint):
            recent = value if recent is None else 0.98 * recent + 0.02 * value
            bar.set_postfix(loss=f"{recent:.4f}", refresh=False)
            bar.update(step + 1 - bar.n)
    save_file({name: tensor.cpu() for name, tensor in network.state_dict().items()}, path)
    done.touch()
    return network


def make_pairs(teacher: FlowUNet, count: int, arguments) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise, captions and the teacher's pictures after 16 Euler steps, in half precision; --work keeps them."""
    path = arguments.work / f"pairs-{count}.safetensors"
    if not path.exists():
        generator = torch.Generator().manual_seed(arguments.seed + 1)
        captions = sample_captions(count, generator)
        noise = torch.randn(count, 3, 32, 32, generator=generator).half()
        pictures = torch.empty_like(noise)
        for index in tqdm(torch.arange(count).split(256), desc="pairs", mininterval=5):
            pictures[index] = losses.sample_flow(teacher, noise[index].float(), captions[index], 16).half().cpu()
        partial = path.with_suffix(".part")
        save_file({"noise": noise, "captions": captions, "pictures": pictures}, partial)
        partial.replace(path)
    pairs = load_file(path)
    return pairs["noise"], pairs["captions"], pairs["pictures"]


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS of the finished files, in the format of sha256sum."""
    files = sorted(folder.glob("*.safetensors"))
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))


if __name__ == "__main__":
    main()
