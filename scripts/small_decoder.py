"""What climbing through a small decoder costs in target: a table for docs/models.md, in some minutes on a CPU.

    python scripts/small_decoder.py

A small SD-Turbo in the published layout with random weights, 32 px; an AutoencoderTiny is distilled from its decoder on
latents of the denoiser. From the same latents the aesthetic reward of the miniature is climbed through the full decoder
(``full``), the small one (``tiny``), and with the full one's value and the small one's gradient (``tiny_gradient``,
which is no setting). The scores are the official ones of the full decoder's 8-bit pictures in all three. The arms take
turns in one process; the seconds are the loop's, a step each, as a ratio of medians.
"""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from tiny import models as tiny  # noqa: E402  # pyright: ignore[reportMissingImports]
from tiny.shared import small_decoder  # noqa: E402  # pyright: ignore[reportMissingImports]
from tiny.turbo import sd_turbo  # noqa: E402  # pyright: ignore[reportMissingImports]

from gradproj.execution.experiment import Experiment  # noqa: E402
from gradproj.execution.settings.compose import compose_run  # noqa: E402
from gradproj.execution.settings.parts import parts  # noqa: E402
from gradproj.runs.environment import describe  # noqa: E402
from gradproj.runs.naming import ImageId  # noqa: E402

PROMPTS = ["a red ring", "a blue square", "a green cross", "a white circle"]
SEEDS, STEPS, DISTILLED, SEED = 3, 30, 400, 0  # images = prompts x seeds
CHANNELS, WIDTH, BLOCKS, SIDE = (16, 32), 32, 2, 32
METHODS = ("none",)


class TinyGradient:
    """The full decoder's value with the small decoder's gradient."""

    def __init__(self, made: Any) -> None:
        self.made, self.render = made, None
        self.latent_shape, self.device, self.weights = made.latent_shape, made.device, made.weights

    def encode(self, prompts: Any) -> Any:
        return self.made.encode(prompts)

    def generate(self, latent: Tensor, condition: Any) -> Tensor:
        clean = self.made.denoise(latent, condition)
        with torch.no_grad():
            value = self.made.decode(clean, self.made.pipeline.vae)
        near = self.made.decode(clean, self.made.decoder)
        return value + near - near.detach()


def distil(full: Any, folder: Path) -> float:
    """Train the decoder in ``folder`` to draw what ``full`` draws; its error on new latents, a part of the variance."""
    generator = torch.Generator().manual_seed(SEED)
    network: Any = AutoencoderTiny.from_pretrained(folder)
    optimizer = torch.optim.Adam(network.decoder.parameters(), lr=3e-3)

    latents = torch.randn(576, *full.latent_shape, generator=generator).split(32)
    with torch.no_grad():
        condition = full.encode([PROMPTS[index % len(PROMPTS)] for index in range(32)])
        cleans = [full.denoise(latent, condition) for latent in latents]
        pictures = [full.decode(clean, full.pipeline.vae) for clean in cleans]
    *train, last = zip(cleans, pictures, strict=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=DISTILLED)
    for step in range(DISTILLED):
        clean, picture = train[step % len(train)]
        optimizer.zero_grad()
        mse_loss(network.decode(clean).sample / 2 + 0.5, picture).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        error = mse_loss(network.decode(last[0]).sample / 2 + 0.5, last[1])
    network.save_pretrained(folder)
    return float(error / last[1].var(dim=0).mean())


def climb(model: Any, method: Any, reward: Any, images: list[ImageId]) -> tuple[np.ndarray, list[float]]:
    """(images, official at step 0 and STEPS, climbed minus official at STEPS), and the seconds of each step."""
    made: Mapping[str, Any] = {"model": model, "method": method, "rewards": {"target": reward}}
    work = Experiment(
        **made, target={"target": 1.0}, prompts=PROMPTS, steps=STEPS, keep="last", score_every=STEPS, max_skips=STEPS
    )
    rows = [image.rows for image in work.follow(images, work.iterate(images, STEPS)).images]
    scores = [[row[0]["target"], row[-1]["target"], row[-1]["reward"] - row[-1]["target"]] for row in rows]
    seconds = np.diff([row["seconds"] for row in rows[0]]) * len(images)
    return np.array(scores), seconds.tolist()


def work_of(model: Any) -> float:
    """FLOP of a picture and its gradient."""
    latent, condition = torch.randn(1, *model.latent_shape), model.encode(PROMPTS[:1])
    with FlopCounterMode(display=False) as counter:
        leaf = latent.requires_grad_()
        torch.autograd.grad(model.generate(1 * leaf, condition).sum(), leaf)
    return float(counter.get_total_flops())


def main() -> None:
    torch.manual_seed(SEED)
    with tempfile.TemporaryDirectory() as home:
        repo = sd_turbo(Path(home) / "pipeline", channels=CHANNELS, width=16)
        folder = small_decoder(Path(home) / "small", levels=len(CHANNELS), width=WIDTH, blocks=BLOCKS)
        told = {"repo": repo, "resolution": SIDE, "cache": f"{home}/prompts"}
        full = tiny.build("sd_turbo-plain", **told)
        error = distil(full, folder)
        made = tiny.build("sd_turbo-plain", **told, decoder="tiny", tiny_repo=folder)
        arms = {"full": full, "tiny": made, "tiny_gradient": TinyGradient(made)}
        images = [ImageId(prompt, seed) for prompt in range(len(PROMPTS)) for seed in range(SEEDS)]
        print(f"distilled to {error:.3f} of the variance", flush=True)
        facts = describe(full.device)
        print({key: facts[key] for key in ("git", "device", "packages")}, flush=True)
        print(f"n={len(images)} images, {STEPS} steps, seed {SEED}", flush=True)
        flops = {name: work_of(model) for name, model in arms.items()}
        for chosen in METHODS:
            settings, _ = compose_run([f"method={chosen}", "reward=shapes_aesthetic", "rewards=[shapes_aesthetic]"])
            ready = parts(settings)
            reward = ready["rewards"]["shapes_aesthetic"]
            found = {name: climb(model, ready["method"], reward, images) for name, model in arms.items()}
            for name, (scores, seconds) in found.items():
                gains, whole = (one[:, 1] - one[:, 0] for one in (scores, found["full"][0]))
                apart = gains - whole
                spread = 1.96 * apart.std(ddof=1) / len(apart) ** 0.5
                print(
                    f"| {chosen} | {name} | {scores[:, 0].mean():.3f} | {scores[:, 1].mean():.3f} | {gains.mean():.3f} "
                    f"| {apart.mean():+.3f} ± {spread:.3f} | {scores[:, 2].mean():+.3f} "
                    f"| {flops[name] / flops['full']:.2f} | {median(seconds) / median(found['full'][1]):.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
