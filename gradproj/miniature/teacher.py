"""What the generator is taught: the scene that a noise stands for, so that white noise gives the renderer's pictures.

Orthonormal combinations of the noise's cosine coefficients are independent and normal, so through the normal
distribution function they are the independent uniform numbers of a scene. The combinations are drawn once, from a seed,
among all waves longer than a quarter of the frame. The rest of the noise is to be ignored.
"""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from scipy import fft
from torch import Tensor

from gradproj.miniature.generator import Generator
from gradproj.miniature.networks import Captions, Images
from gradproj.miniature.render import NUMBERS, draw, sample_captions
from gradproj.miniature.training import Loss

BAND = 8  # half waves across the frame, below which a coefficient's frequency lies
SEED = 2602_08646


def numbers(noise: Images) -> Float[Tensor, "b 16"]:
    """The scene's numbers: Phi of combinations of the low coefficients of each channel's orthonormal 2-D DCT-II."""
    coefficients = np.asarray(fft.dctn(noise.cpu().numpy(), axes=(2, 3), norm="ortho"))[:, :, :BAND, :BAND]
    return torch.special.ndtr(torch.from_numpy(coefficients).flatten(1) @ combinations().to(noise.dtype))


@cache
def combinations() -> Float[Tensor, "192 16"]:
    """Orthonormal columns over the coefficients (3, 8, 8), zero from the radius ``BAND`` on, float64."""
    down, right = torch.arange(BAND)[:, None], torch.arange(BAND)
    low = (down**2 + right**2 < BAND**2).expand(3, -1, -1).flatten()
    drawn = torch.randn(len(low), NUMBERS, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)
    return torch.linalg.qr(drawn * low[:, None]).Q


def beginner() -> Generator:
    """A new network whose linear view of the noise starts with the combinations: what is left to learn is drawing."""
    network = Generator()
    coefficients = combinations().T.view(NUMBERS, 3, BAND, BAND).numpy()
    patterns = fft.idctn(
        np.pad(coefficients, ((0, 0), (0, 0), (0, 32 - BAND), (0, 32 - BAND))), axes=(2, 3), norm="ortho"
    )
    network.noise.weight.data[:NUMBERS] = torch.from_numpy(patterns).flatten(1).float()
    return network


def scene(noise: Images, captions: Captions) -> Images:
    """The picture in [0, 1] that the noise stands for, on the processor."""
    return draw(captions.cpu(), numbers(noise))


def drawing_loss(network: Generator, batch: int) -> Loss:
    """The error against the scene of new noise, in pixels, squared and absolute, and in their differences, squared.

    Two thirds of the scenes are pairs, which are harder to draw.
    """

    def loss(generator: torch.Generator) -> Tensor:
        captions = sample_captions(batch, generator, alone=1 / 3)
        z = torch.randn(batch, 3, 32, 32, generator=generator)
        device = next(network.parameters()).device
        target = (2 * scene(z, captions) - 1).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            error = network(z.to(device), captions.to(device)).float() - target
        edges = error.diff(dim=2).square().mean() + error.diff(dim=3).square().mean()
        return error.square().mean() + 0.3 * error.abs().mean() + edges

    return loss


@torch.no_grad()
def sample(network: Generator, captions: Captions, generator: torch.Generator) -> Images:
    """Pictures of new noise, in [0, 1] on the processor, in bfloat16 arithmetic."""
    device = next(network.parameters()).device
    z = torch.randn(len(captions), 3, 32, 32, generator=generator).to(device)
    with torch.autocast(device.type, torch.bfloat16):
        return (network(z, captions.to(device)).float().cpu() * 0.5 + 0.5).clamp(0, 1)
