"""What the miniature's judges minimise: batches from the renderer, disturbed, and a loss for each network.

Everything random is drawn from the generator that a loss is given, on the processor, so that a seed means the same on
every machine.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradproj.miniature.captions import ABSENT
from gradproj.miniature.disturbances import change, cover, disturb, warp
from gradproj.miniature.generator import Generator
from gradproj.miniature.measures import aesthetic
from gradproj.miniature.networks import Classifier, CrossMatcher, DualEncoder, Regressor
from gradproj.miniature.render import render, sample_captions
from gradproj.miniature.teacher import sample
from gradproj.miniature.training import Loss


def regression_loss(network: Regressor, batch: int) -> Loss:
    """The squared error of the aesthetic measure on renderings, and on pictures far from them, from grey to glaring.

    A third has clouds of any colours in place of the ground, and all are varied in saturation and contrast.
    """

    def loss(generator: torch.Generator) -> Tensor:
        image = render(sample_captions(batch, generator), generator)
        image = cover(image, generator)
        grey = image.mean(dim=1, keepdim=True)
        saturation, gain = (0.2 + 1.8 * torch.rand(2, batch, 1, 1, 1, generator=generator)).unbind(0)
        image = grey + saturation * (image - grey)
        image = disturb((0.5 + gain * (image - 0.5)).clamp(0, 1), generator)
        (image,) = _beside(network, image)
        return F.mse_loss(network(image), aesthetic(image))

    return loss


def contrastive_loss(network: DualEncoder, batch: int, generated: Generator | None = None) -> Loss:
    """CLIP's InfoNCE over the batch's captions and as many wrong ones, which have a single change each.

    The pictures are renderings; where there is a ``generated``, half of them come from it.
    """

    def loss(generator: torch.Generator) -> Tensor:
        captions = sample_captions(batch, generator)
        image = render(captions, generator)
        if generated is not None:
            image[::2] = sample(generated, captions[::2], generator)
        image, texts = _beside(network, disturb(image, generator), torch.cat([captions, change(captions, generator)]))
        logits = network.embed_image(image) @ network.embed_text(texts).T * network.log_scale.exp()
        key = texts.sort(dim=1).values  # "a and b" says the same as "b and a", so it is no wrong caption
        same = (key[:batch, None] == key[None]).all(dim=-1)
        same[:, :batch].fill_diagonal_(False)
        logits = logits.masked_fill(same, -1e4)
        right = torch.arange(batch, device=image.device)
        return F.cross_entropy(logits, right) + F.cross_entropy(logits[:, :batch].T, right)

    return loss


def matching_loss(network: CrossMatcher, batch: int) -> Loss:
    """Binary cross-entropy on attacked renderings (fast adversarial training, Wong, Rice and Kolter 2020).

    The judge says whether the caption fits, and whether each of its objects is there. Half of the captions are right, a
    third have a single change, and the rest are another's. Each picture is bent or disturbed, and then moved against
    the judge by the sign of its gradient, by up to 0.08 times what the judge is better than chance: a judge that is
    trained so is hard to fool, by the gradient of another one too.
    """

    def loss(generator: torch.Generator) -> Tensor:
        captions = sample_captions(batch, generator)
        image = disturb(warp(render(captions, generator), generator), generator)
        draw = torch.rand(batch, generator=generator)
        shown = torch.where((draw < 0.5)[:, None], captions, change(captions, generator))
        shown = torch.where((draw > 0.83)[:, None], captions.roll(1, 0), shown)
        swap = torch.rand(batch, generator=generator) < 0.5
        swap &= shown[:, 1] != ABSENT
        shown = torch.where(swap[:, None], shown.flip(1), shown)
        there = (shown[:, :, None] == captions[:, None]).any(2)  # ABSENT is there where the picture has one object
        true = torch.cat([there.all(1, keepdim=True), there], dim=1).float()
        reach = 0.08 * torch.rand(batch, 1, 1, 1, generator=generator)
        image, shown, true, reach = _beside(network, image, shown, true, reach)
        with sdpa_kernel(SDPBackend.MATH):  # the fused form is slower at 66 tokens
            image.requires_grad_()
            clean = F.binary_cross_entropy_with_logits(network.parts(image, shown), true)
            (gradient,) = torch.autograd.grad(clean, image)
            skill = (1 - clean.detach() / math.log(2)).clamp(0, 1)
            attacked = (image + skill * reach * gradient.sign()).clamp(0, 1).detach()
            return F.binary_cross_entropy_with_logits(network.parts(attacked, shown), true)

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
