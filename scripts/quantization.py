"""What model.quantization costs and saves: quantization.py writes results/quantization and full_size/quantized.csv.

Errors: small FLUX pipelines in the published layout with random weights, on the processor. The same latents with the
weights of transformer and T5 in int8 and in nf4, against those in bfloat16: the picture, and the gradient of a random
linear reward. bfloat16 against float32 is the yardstick. Memory: counted at the published sizes, from shapes alone.
"""

import os
import sys
import tempfile
from pathlib import Path
from textwrap import fill
from typing import Any

import torch
from counting.build import Size, model
from torch import Tensor
from transformers import T5Config, T5EncoderModel

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from tiny import models as tiny  # noqa: E402  # pyright: ignore[reportMissingImports]
from tiny.flow import flux  # noqa: E402  # pyright: ignore[reportMissingImports]

from gradproj.files import place  # noqa: E402
from gradproj.pretrained.quantized import linear_layers, stored_bytes  # noqa: E402
from gradproj.report.writing import csv  # noqa: E402
from gradproj.runs.environment import describe  # noqa: E402

RESULTS = ROOT / "results" / "quantization"
MEMORY = ROOT / "results" / "full_size" / "quantized.csv"
WHAT = """`python scripts/quantization.py` makes this page. Small FLUX pipelines in the published layout with random
weights, on the processor: the same latents with the weights of transformer and T5 in int8 and in nf4 against those in
bfloat16, and these against float32 as a yardstick. `width` is the transformer's, T5's is half of it. The picture's
difference is a root mean square over pixels in [0, 1]; `picture_std` is how much the pictures vary. The gradient is
that of a random linear reward, its error a part of its length. Both are means over the latents. **No published weights
were tried**: none were at hand. `gradproj verify model=flux model.quantization=nf4` tells the picture's difference on
yours."""
COUNTED = """Counted at the published sizes, from shapes alone: the parameters, those in the blocks' linear layers,
which are stored in another format, and the bytes of these."""
SEED, LATENTS, PROMPT = 0, 8, "a red ring and a blue square"
WIDTHS = (128, 256)  # of the transformer; the published one has 3072
T5_XXL = {  # text_encoder_2/config.json of FLUX.1-schnell
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "vocab_size": 32128,
    "feed_forward_proj": "gated-gelu",
    "is_encoder_decoder": False,
}
KINDS = ("none", "int8", "nf4")


def answer(made: Any) -> tuple[Tensor, Tensor]:
    """Pictures (n, 3, h, w) of the latents, and the gradient of a random linear reward in each (n, ...)."""
    latent = tiny.random_latent(made, LATENTS, SEED).requires_grad_()
    image = made.generate(latent, made.encode([PROMPT] * LATENTS))
    direction = torch.randn(image.shape, generator=torch.Generator().manual_seed(SEED + 1))
    (slope,) = torch.autograd.grad((image * direction).sum(), latent)
    return image.detach().double(), slope.double()


def errors() -> list[dict[str, Any]]:
    """A row for each width and format: means over the latents, and the largest."""
    rows = []
    for width in WIDTHS:
        with tempfile.TemporaryDirectory() as place_of:
            head = (16, 24, 24)
            shape = {"rope": head, "heads": width // sum(head), "double": 2, "single": 4, "text_width": width // 2}
            folder = flux(Path(place_of) / "flux", seed=SEED, channels=(16, 32), **shape)
            told = {"repo": folder, "cache": f"{place_of}/prompts", "resolution": 64, "text_length": 64}
            exact = answer(tiny.build("flux-plain", **told, dtype="float32"))
            found = {
                kind: answer(tiny.build("flux-plain", **told, dtype="bfloat16", quantization=kind)) for kind in KINDS
            }
        rows.append(row(width, "bfloat16", "float32", found["none"], exact))
        rows += [row(width, kind, "bfloat16", found[kind], found["none"]) for kind in KINDS[1:]]
    return rows


def row(
    width: int, what: str, against: str, found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]
) -> dict[str, Any]:
    """Differences of one format against another."""
    image = (found[0] - expected[0]).flatten(1).square().mean(1).sqrt()
    apart = (found[1] - expected[1]).flatten(1).norm(dim=1) / expected[1].flatten(1).norm(dim=1)
    cosine = torch.cosine_similarity(found[1].flatten(1), expected[1].flatten(1), dim=1)
    return {
        "width": width,
        "weights": what,
        "against": against,
        "n": LATENTS,
        "picture_std": float(expected[0].std()),
        "picture_rms": float(image.mean()),
        "picture_rms_largest": float(image.max()),
        "gradient_error": float(apart.mean()),
        "gradient_error_largest": float(apart.max()),
        "gradient_cosine_least": float(cosine.min()),
    }


def memory() -> list[dict[str, Any]]:
    """A row for each large network: its parameters, those that are quantized, and the bytes of these in each format."""
    made = model(Size.load(ROOT / "scripts" / "counting" / "sizes" / "flux.json"), torch.device("meta"))
    with torch.device("meta"):
        t5 = T5EncoderModel(T5Config(**T5_XXL))
    rows = []
    for part, network in (("transformer", made.network), ("text_encoder_2", t5)):
        shapes = [(f"{name}.weight", linear.weight.shape) for name, linear in linear_layers(network)]
        row = {"model": "flux", "part": part, "parameters": sum(one.numel() for one in network.parameters())}
        row["quantized"] = sum(shape.numel() for _, shape in shapes)
        rows.append(row | {kind: stored_bytes(shapes, kind, 2) for kind in KINDS[1:]})
    return rows


def main() -> None:
    facts = describe(torch.device("cpu"))
    packages = ", ".join(f"{name} {facts['packages'][name]}" for name in ("torch", "diffusers", "transformers"))
    from bitsandbytes import __version__ as bitsandbytes

    git = facts["git"]
    head = f"{facts['written'][:10]}, commit {git['commit']}{' with changes' if git['dirty'] else ''}; {packages}, "
    head += f"bitsandbytes {bitsandbytes}; {facts['device']}, load {os.getloadavg()[1]:.1f} on {facts['cores']} cores; "
    head += f"seed {SEED}, n = {LATENTS} latents"
    RESULTS.mkdir(parents=True, exist_ok=True)
    found, counts = errors(), memory()
    place(RESULTS / "errors.csv", csv(found).encode())
    place(MEMORY, csv(counts).encode())
    blocks = ["# Weights of 8 and 4 bits", fill(f"{head}.", 120), WHAT, table(found), COUNTED, table(counts)]
    text = "\n\n".join(blocks) + "\n"
    place(RESULTS / "README.md", text.encode())
    print(text)


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    import pandas as pd

    return pd.DataFrame(rows).to_markdown(index=False, floatfmt=".4g", intfmt=",")


if __name__ == "__main__":
    main()
