"""The miniature's generator: from noise and a caption to a picture in one step.

Every sample is normalised by itself (group norm, layer norm), so that a batch gives what its noises give alone.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gradproj.miniature.captions import ABSENT
from gradproj.miniature.networks import CaptionEmbedding, Captions, Images, conv
from gradproj.miniature.render import SIZE


class Residual(nn.Module):
    """A residual block of two convolutions; the condition scales and shifts what lies between them."""

    def __init__(self, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, inputs), nn.GroupNorm(8, outputs)
        self.conv1, self.conv2 = conv(inputs, outputs), conv(outputs, outputs)
        self.film = nn.Linear(condition, 2 * outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.film(F.silu(condition))[:, :, None, None].chunk(2, dim=1)
        h = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))
        return self.skip(x) + h


class Transformer(nn.Module):
    """A transformer block over tokens (b, n, width); the condition scales, shifts and gates it (DiT's adaLN)."""

    def __init__(self, width: int, condition: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 3 * width), nn.SiLU(), nn.Linear(3 * width, width))
        self.modulation = nn.Linear(condition, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        b, n, width = tokens.shape
        scale1, shift1, gate1, scale2, shift2, gate2 = self.modulation(F.silu(condition))[:, None].chunk(6, dim=2)
        seen = self.norm(tokens) * (1 + scale1) + shift1
        q, k, v = self.qkv(seen).view(b, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(2, 3) * q.shape[3] ** -0.5).softmax(dim=3)  # the fused form is slower at 66 tokens
        tokens = tokens + gate1 * self.out((weights @ v).transpose(1, 2).reshape(b, n, width))
        return tokens + gate2 * self.mlp(self.norm(tokens) * (1 + scale2) + shift2)


class Generator(nn.Module):
    """From noise and a caption to a picture in about [-1, 1], in one step.

    A transformer at 8 x 8 draws, with the two objects of the caption as two more tokens, and convolutions at 16 x 16
    make the 12 channels of the unshuffled picture. All blocks and the objects' tokens see the caption and a linear view
    of the whole noise, and each place sees the noise that lies there.
    """

    def __init__(self, width: int = 40, deep: int = 128, depth: int = 5, condition: int = 192, view: int = 64) -> None:
        super().__init__()
        self.caption, self.noise = CaptionEmbedding(condition), nn.Linear(3 * SIZE * SIZE, view)
        self.both = nn.Sequential(
            nn.Linear(condition + view, 2 * condition), nn.SiLU(), nn.Linear(2 * condition, condition)
        )
        self.stem, self.shrink = conv(12, width), conv(width, deep, stride=2)
        self.shrink.weight.data *= 0.1  # where a token is matters more than the noise that lies there
        self.position = nn.Parameter(_waves(8, deep))
        self.objects = nn.ModuleList(nn.Embedding(ABSENT + 1, deep) for _ in range(2))
        self.where = nn.ModuleList(nn.Linear(condition, deep) for _ in range(2))
        self.deep = nn.ModuleList(Transformer(deep, condition) for _ in range(depth))
        self.grow = nn.Conv2d(deep, 4 * width, 1)
        self.up = nn.ModuleList([Residual(2 * width, width, condition), Residual(width, width, condition)])
        self.head = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), conv(width, 12))

    def forward(self, z: Images, captions: Captions) -> Images:
        condition = self.both(torch.cat([self.caption(captions), self.noise(z.flatten(1))], dim=1))
        fine = self.stem(F.pixel_unshuffle(z, 2))
        tokens = self.shrink(fine).flatten(2).transpose(1, 2) + self.position
        named = [
            embed(captions[:, slot]) + where(F.silu(condition))
            for slot, (embed, where) in enumerate(zip(self.objects, self.where, strict=True))
        ]
        tokens = torch.cat([tokens, torch.stack(named, dim=1)], dim=1)
        for block in self.deep:
            tokens = block(tokens, condition)
        coarse = tokens[:, :64].transpose(1, 2).unflatten(2, (8, 8))
        h = torch.cat([F.pixel_shuffle(self.grow(coarse), 2), fine], dim=1)
        for block in self.up:
            h = block(h, condition)
        return F.pixel_shuffle(self.head(h), 2)


def _waves(side: int, width: int) -> Float[Tensor, "places width"]:
    """Sines and cosines of the places of a square, from half a wave to ``side`` / 2 waves down and across it."""
    place = (torch.arange(side) + 0.5) / side
    angles = torch.pi * place[:, None] * torch.logspace(0, 1, width // 4, base=side)
    line = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, width / 2)
    rows, columns = line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)
