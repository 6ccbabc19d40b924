"""How the miniature's networks are trained: batches from the renderer, one loss per network.

Everything random comes from one generator that is handed in.
"""

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradproj.miniature.captions import ABSENT, COLOURS, OBJECTS, SHAPES
from gradproj.miniature.measures import aesthetic
from gradproj.miniature.networks import Classifier, CrossMatcher, DualEncoder, FlowUNet, Regressor
from gradproj.miniature.render import render, sample_captions

Loss = Callable[[torch.Generator], Tensor]


def fit(
    network: nn.Module, loss: Loss, steps: int, lr: float, generator: torch.Generator, checkpoint: Path
) -> Iterator[tuple[int, float]]:
    """AdamW with warm-up and cosine decay; yields (step, loss). The network ends as its moving average.

    Every 250 steps all state goes to ``checkpoint``, from which a killed training goes on as if nothing had happened.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=1e-3, betas=(0.9, 0.99))
    average = deepcopy(network)
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location="cpu")
        for part, saved in zip((network, average, optimizer), state["parts"], strict=True):
            part.load_state_dict(saved)
        generator.set_state(state["generator"])
        first = state["step"]
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * schedule(step, steps)
        value = loss(generator)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        decay = min(0.998, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, parameter in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(parameter, 1 - decay)
        yield step, float(value.detach())
        if (step + 1) % 250 == 0:
            parts = [part.state_dict() for part in (network, average, optimizer)]
            partial = checkpoint.with_suffix(".part")
            torch.save({"parts": parts, "generator": generator.get_state(), "step": step + 1}, partial)
            partial.replace(checkpoint)
    network.load_state_dict(average.state_dict())


def schedule(step: int, steps: int) -> float:
    """Share of the learning rate: 100 steps of linear warm-up, then a cosine down to 1 %."""
    warmup = min(100, steps // 10 + 1)
    if step < warmup:
        return 0.01 + 0.99 * step / warmup
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


def flow_loss(network: FlowUNet, batch: int) -> Loss:
    """Rectified flow (Liu et al. 2022): regress z - x at x_t = (1 - t) x + t z, t uniform."""

    def loss(generator: torch.Generator) -> Tensor:
        captions = sample_captions(batch, generator)
        x = 2 * render(captions, generator) - 1
        z = torch.randn(x.shape, generator=generator)
        t = torch.rand(batch, generator=generator)
        captions, x, z, t = _beside(network, captions, x, z, t)
        blend = t[:, None, None, None]
        with torch.autocast(x.device.type, torch.bfloat16):
            velocity = network((1 - blend) * x + blend * z, t, captions)
        return F.mse_loss(velocity.float(), z - x)

    return loss


@torch.no_grad()
def sample_flow(network: FlowUNet, z: Tensor, captions: Tensor, steps: int) -> Tensor:
    """The flow's ODE by Euler steps, from noise z to a picture in about [-1, 1], both (b, 3, 32, 32)."""
    x, captions, times = _beside(network, z, captions, torch.linspace(1, 0, steps + 1))
    with torch.autocast(x.device.type, torch.bfloat16):
        for now, after in pairwise(times):
            x = x + (after - now) * network(x, now.expand(len(x)), captions).float()
    return x


def distillation_loss(network: FlowUNet, noise: Tensor, captions: Tensor, pictures: Tensor, batch: int) -> Loss:
    """Regress the one-step picture z - v(z, 1) on the teacher's: absolute error of pixels and their differences."""

    def loss(generator: torch.Generator) -> Tensor:
        index = torch.randint(len(noise), (batch,), generator=generator)
        z, target, shown = _beside(network, noise[index].float(), pictures[index].float(), captions[index])
        with torch.autocast(z.device.type, torch.bfloat16):
            velocity = network(z, torch.ones_like(z[:, 0, 0, 0]), shown)
        error = z - velocity.float() - target
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        return error.abs().mean() + 0.5 * edges

    return loss


def regression_loss(network: Regressor, batch: int) -> Loss:
    """The aesthetic measure of renderings whose saturation and contrast vary, blurred or noisy now and then."""

    def loss(generator: torch.Generator) -> Tensor:
        image = render(sample_captions(batch, generator), generator)
        grey = image.mean(dim=1, keepdim=True)
        saturation, gain = (0.3 + 1.2 * torch.rand(2, batch, 1, 1, 1, generator=generator)).unbind(0)
        image = grey + saturation * (image - grey)
        image = disturb((0.5 + gain * (image - 0.5)).clamp(0, 1), generator)
        (image,) = _beside(network, image)
        return F.mse_loss(network(image), aesthetic(image))

    return loss


def contrastive_loss(network: DualEncoder, batch: int) -> Loss:
    """InfoNCE (CLIP) over the batch's captions and, for every picture, one caption with a single change."""

    def loss(generator: torch.Generator) -> Tensor:
        captions = sample_captions(batch, generator)
        image = disturb(render(captions, generator), generator)
        image, texts = _beside(network, image, torch.cat([captions, change(captions, generator)]))
        logits = network.embed_image(image) @ network.embed_text(texts).T * network.log_scale.exp()
        key = texts.sort(dim=1).values  # "a and b" says the same as "b and a": not a negative
        same = (key[:batch, None] == key[None]).all(dim=-1)
        same[:, :batch].fill_diagonal_(False)
        logits = logits.masked_fill(same, -1e4)
        own = torch.arange(batch, device=image.device)
        return F.cross_entropy(logits, own) + F.cross_entropy(logits[:, :batch].T, own)

    return loss


def matching_loss(network: CrossMatcher, batch: int) -> Loss:
    """Binary cross-entropy: half true captions, a third with a single change, the rest another picture's."""

    def loss(generator: torch.Generator) -> Tensor:
        captions = sample_captions(batch, generator)
        image = disturb(render(captions, generator), generator)
        draw = torch.rand(batch, generator=generator)
        shown = torch.where((draw < 0.5)[:, None], captions, change(captions, generator))
        shown = torch.where((draw > 0.83)[:, None], captions.roll(1, 0), shown)
        swap = torch.rand(batch, generator=generator) < 0.5
        swap &= shown[:, 1] != ABSENT
        shown = torch.where(swap[:, None], shown.flip(1), shown)
        fits = (shown.sort(dim=1).values == captions.sort(dim=1).values).all(dim=1)
        image, shown, fits = _beside(network, image, shown, fits.float())
        return F.binary_cross_entropy_with_logits(network(image, shown), fits)

    return loss


def classification_loss(network: Classifier, batch: int) -> Loss:
    """Cross-entropy with what the picture shows, warped, blurred or noisy now and then; two objects count half each."""

    def loss(generator: torch.Generator) -> Tensor:
        captions = sample_captions(batch, generator)
        image = disturb(warp(render(captions, generator), generator), generator)
        shown = F.one_hot(captions, ABSENT + 1)[:, :, :ABSENT].sum(dim=1).float()
        image, shown = _beside(network, image, shown / shown.sum(dim=1, keepdim=True))
        return F.cross_entropy(network(image), shown)

    return loss


def _beside(network: nn.Module, *tensors: Tensor) -> list[Tensor]:
    """The tensors on the network's device; they are drawn on the processor, so a seed means the same everywhere."""
    device = next(network.parameters()).device
    return [tensor.to(device) for tensor in tensors]


def change(captions: Tensor, generator: torch.Generator) -> Tensor:
    """Each caption with one thing wrong: a colour, a shape, or an object too many or too few."""
    n = len(captions)
    colours, shapes = len(COLOURS), len(SHAPES)
    paired = captions[:, 1] != ABSENT
    slot = (torch.rand(n, generator=generator) < 0.5).long() * paired
    row = torch.arange(n)
    index = captions[row, slot]
    colour, shape = index // shapes, index % shapes
    kind = torch.randint(3, (n,), generator=generator)
    colour = torch.where(kind == 0, (colour + torch.randint(1, colours, (n,), generator=generator)) % colours, colour)
    shape = torch.where(kind == 1, (shape + torch.randint(1, shapes, (n,), generator=generator)) % shapes, shape)
    changed = captions.clone()
    changed[row, slot] = colour * shapes + shape
    other = (captions[:, 0] + torch.randint(1, len(OBJECTS), (n,), generator=generator)) % len(OBJECTS)
    changed[:, 1] = torch.where(kind == 2, torch.where(paired, ABSENT, other), changed[:, 1])
    return changed


def disturb(image: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the pictures blurred by a 3 x 3 box, half noisy (sd up to 0.1): the judges know imperfect ones."""
    n = len(image)
    blurred = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    keep = torch.rand(n, 1, 1, 1, generator=generator).clamp(max=0.5) * 2
    image = keep * image + (1 - keep) * blurred
    strength = 0.2 * (torch.rand(n, 1, 1, 1, generator=generator) - 0.5).clamp(min=0)
    return (image + strength * torch.randn(image.shape, generator=generator)).clamp(0, 1)


def warp(image: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the pictures bent by a smooth field of displacements, up to about three pixels (sd up to 1)."""
    n, _, height, width = image.shape
    strength = 4 / width * (torch.rand(n, 1, 1, 1, generator=generator) - 0.5).clamp(min=0)
    field = F.interpolate(torch.randn(n, 2, 6, 6, generator=generator), (height, width), mode="bicubic")
    still = F.affine_grid(torch.eye(2, 3).expand(n, 2, 3), [n, 3, height, width], align_corners=False)
    moved = still + (strength * field).permute(0, 2, 3, 1)
    return F.grid_sample(image, moved, padding_mode="border", align_corners=False)
