"""What the miniature's networks minimise: batches from the renderer, a loss for each network.

Everything random is drawn from the generator that a loss is given, on the processor, so that a seed means the same on
every machine.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradproj.miniature.captions import ABSENT
from gradproj.miniature.disturbances import change, disturb, warp
from gradproj.miniature.measures import aesthetic
from gradproj.miniature.networks import Classifier, CrossMatcher, DualEncoder, FlowUNet, Regressor
from gradproj.miniature.render import render, sample_captions
from gradproj.miniature.training import Loss


def flow_loss(network: FlowUNet, batch: int) -> Loss:
    """Rectified flow (Liu et al. 2022): the network predicts z - x at x_t = (1 - t) x + t z, with t uniform."""

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
    """Solve the flow's ODE by Euler steps, from noise ``z`` to pictures in about [-1, 1], both (b, 3, 32, 32)."""
    x, captions, times = _beside(network, z, captions, torch.linspace(1, 0, steps + 1))
    with torch.autocast(x.device.type, torch.bfloat16):
        for now, after in pairwise(times):
            x = x + (after - now) * network(x, now.expand(len(x)), captions).float()
    return x


def distillation_loss(network: FlowUNet, noise: Tensor, captions: Tensor, pictures: Tensor, batch: int) -> Loss:
    """The absolute error of the one-step picture z - v(z, 1) against the teacher's, in pixels and their differences."""

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
    """The squared error of the aesthetic measure on disturbed renderings of varied saturation and contrast."""

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
    """CLIP's InfoNCE over the batch's captions and as many wrong ones, which have a single change each."""

    def loss(generator: torch.Generator) -> Tensor:
        captions = sample_captions(batch, generator)
        image = disturb(render(captions, generator), generator)
        image, texts = _beside(network, image, torch.cat([captions, change(captions, generator)]))
        logits = network.embed_image(image) @ network.embed_text(texts).T * network.log_scale.exp()
        key = texts.sort(dim=1).values  # "a and b" says the same as "b and a", so it is no wrong caption
        same = (key[:batch, None] == key[None]).all(dim=-1)
        same[:, :batch].fill_diagonal_(False)
        logits = logits.masked_fill(same, -1e4)
        right = torch.arange(batch, device=image.device)
        return F.cross_entropy(logits, right) + F.cross_entropy(logits[:, :batch].T, right)

    return loss


def matching_loss(network: CrossMatcher, batch: int) -> Loss:
    """Binary cross-entropy: half of the captions are right, a third have a single change, the rest are another's."""

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
    """Cross-entropy with what a picture shows, which may be warped or disturbed; of two objects each counts half."""

    def loss(generator: torch.Generator) -> Tensor:
        captions = sample_captions(batch, generator)
        image = disturb(warp(render(captions, generator), generator), generator)
        shown = F.one_hot(captions, ABSENT + 1)[:, :, :ABSENT].sum(dim=1).float()
        image, shown = _beside(network, image, shown / shown.sum(dim=1, keepdim=True))
        return F.cross_entropy(network(image), shown)

    return loss


def _beside(network: nn.Module, *tensors: Tensor) -> list[Tensor]:
    """The tensors on the network's device."""
    device = next(network.parameters()).device
    return [tensor.to(device) for tensor in tensors]
