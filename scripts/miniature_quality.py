"""Measure the shipped miniature on new captions: ``python scripts/miniature_quality.py``.

Writes docs/miniature_quality.md, and a grid of pictures to docs/miniature_samples.png. All is drawn from one seed,
which training did not use.
"""

import io
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image as Pillow
from torch import Tensor

from gradproj.diversity.features.shapes import Shapes as Classifier
from gradproj.execution.trajectory import to_pictures
from gradproj.files import place
from gradproj.miniature.captions import ABSENT, sentence
from gradproj.miniature.disturbances import change
from gradproj.miniature.measures import aesthetic
from gradproj.miniature.render import render, sample_captions
from gradproj.models.shapes import Shapes
from gradproj.rewards.shapes_aesthetic import ShapesAesthetic
from gradproj.rewards.shapes_heldout import ShapesHeldout
from gradproj.rewards.shapes_matcher import ShapesMatcher
from gradproj.rewards.shapes_rendering import ShapesRendering

SEED, COUNT = 20_000, 1_024
DOCS = Path(__file__).parents[1] / "docs"


@torch.no_grad()
def main() -> None:
    generator = torch.Generator().manual_seed(SEED)
    captions = sample_captions(COUNT, generator)
    right = [sentence(*caption) for caption in captions.tolist()]
    wrong = [sentence(*caption) for caption in change(captions, generator).tolist()]
    model = Shapes()
    latent = torch.randn(COUNT, 3, 32, 32, generator=generator)
    chunks = zip(latent.split(128), captions.split(128), strict=True)
    samples = torch.cat([model.generate(z, caption) for z, caption in chunks])
    columns = {"renderings": render(captions, generator), "one-step samples": samples}
    paired = captions[:, 1] != ABSENT
    tables = [
        spread(images) | measure(images, right, wrong, paired) | recognised(images, captions)
        for images in columns.values()
    ]
    lines = [
        f"n = {COUNT} random captions, seed {SEED}; written by scripts/miniature_quality.py.",
        "",
        f"| | {' | '.join(columns)} |",
        "|---|---|---|",
        *(f"| {name} | {' | '.join(f'{table[name]:.3f}' for table in tables)} |" for name in tables[0]),
        "",
        'A "changed" caption has one thing wrong: a colour, a shape, or an object too many or too few.',
    ]
    place(DOCS / "miniature_quality.md", ("\n".join(lines) + "\n").encode())
    place(DOCS / "miniature_samples.png", grid(samples[:72], 12))
    print("\n".join([*lines, "", "first captions of the grid: " + "; ".join(right[:12])]))


def spread(images: Tensor) -> dict[str, float]:
    """Where the aesthetic measure of pictures lies."""
    at = {"1st": 0.01, "50th": 0.5, "99th": 0.99}
    return {f"aesthetic, computed, {name} percentile": aesthetic(images).quantile(q).item() for name, q in at.items()}


def measure(images: Tensor, right: list[str], wrong: list[str], paired: Tensor) -> dict[str, float]:
    """The judges' means with right and with changed captions, and how well the learnt aesthetic fits its measure.

    The held-out matcher judges a caption right where its probability is above one half.
    """
    pictures = to_pictures(images)
    learnt, true = ShapesAesthetic().score(pictures, right), aesthetic(images)
    scores: dict[str, float] = {
        "aesthetic, learnt": learnt.mean().item(),
        "aesthetic, computed": true.mean().item(),
        "aesthetic, correlation of the two": torch.corrcoef(torch.stack([learnt, true]))[0, 1].item(),
    }
    judges: dict[str, tuple[Callable, int]] = {
        "shapes_matcher": (ShapesMatcher().score, len(right)),
        "shapes_heldout": (ShapesHeldout().score, len(right)),
        "shapes_rendering": (ShapesRendering().score, 256),
    }
    for name, (judge, count) in judges.items():
        matching, changed = (judge(pictures[:count], captions[:count]) for captions in (right, wrong))
        scores[f"{name}, right caption"] = matching.mean().item()
        scores[f"{name}, changed caption"] = changed.mean().item()
        scores[f"{name}, right above changed"] = (matching > changed).float().mean().item()
    judged = ShapesHeldout().score(pictures, right) > 0.5
    scores["shapes_heldout, judged right: single object"] = judged[~paired].float().mean().item()
    scores["shapes_heldout, judged right: pair"] = judged[paired].float().mean().item()
    return scores


def recognised(images: Tensor, captions: Tensor) -> dict[str, float]:
    """How often the classifier ranks the one or two objects of the caption above all others."""
    _, logits = Classifier()(to_pictures(images))
    best = logits.argsort(dim=1, descending=True)
    paired = captions[:, 1] != ABSENT
    both = (best[:, :2].sort(dim=1).values == captions.sort(dim=1).values).all(dim=1)
    return {
        "classifier, single object right": (best[:, 0] == captions[:, 0])[~paired].float().mean().item(),
        "classifier, pair right": both[paired].float().mean().item(),
    }


def grid(images: Tensor, columns: int, scale: int = 3) -> bytes:
    """A PNG of the pictures in rows, enlarged without smoothing."""
    side = images.shape[-1] * scale
    sheet = Pillow.new("RGB", (columns * side, -(-len(images) // columns) * side))
    for index, picture in enumerate(to_pictures(images)):
        big = picture.resize((side, side), Pillow.Resampling.NEAREST)
        sheet.paste(big, (index % columns * side, index // columns * side))
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
