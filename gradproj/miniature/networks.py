"""The networks of the miniature: a text-conditioned flow, a regressor, two image-text matchers and a classifier.

Every network normalises each sample by itself (group norm), so that a batch gives what its images give alone.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gradproj.miniature.captions import ABSENT

Captions = Int[Tensor, "b 2"]
Images = Float[Tensor, "b 3 32 32"]


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


class CaptionEmbedding(nn.Module):
    """From object indices (b, 2) to (b, width): a learnt vector for each object and position, then a small MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.objects = nn.ModuleList(nn.Embedding(ABSENT + 1, width) for _ in range(2))
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, captions: Captions) -> Float[Tensor, "b width"]:
        return self.mlp(self.objects[0](captions[:, 0]) + self.objects[1](captions[:, 1]))


class Residual(nn.Module):
    """A residual block of two convolutions; the condition scales and shifts what lies between them."""

    def __init__(self, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, inputs), nn.GroupNorm(8, outputs)
        self.conv1, self.conv2 = _conv(inputs, outputs), _conv(outputs, outputs)
        self.film = nn.Linear(condition, 2 * outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.film(F.silu(condition))[:, :, None, None].chunk(2, dim=1)
        h = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))
        return self.skip(x) + h


class Attention(nn.Module):
    """Residual self-attention over the pixels of a small feature map."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.qkv, self.out = (
            nn.GroupNorm(8, width),
            nn.Conv2d(width, 3 * width, 1),
            nn.Conv2d(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        q, k, v = self.qkv(self.norm(x)).view(b, 3, self.heads, c // self.heads, h * w).transpose(-1, -2).unbind(1)
        return x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(b, c, h, w))


class FlowUNet(nn.Module):
    """The velocity field v = z - x of a rectified flow x_t = (1 - t) x + t z, with about 1.3 million parameters.

    It works on pixels unshuffled to 12 x 16 x 16. Distilled, its z - v(z, 1) is the one-step generator.
    """

    def __init__(self, width: int = 64, deep: int = 96, condition: int = 128) -> None:
        super().__init__()
        self.caption = CaptionEmbedding(condition)
        self.time = nn.Sequential(nn.Linear(16, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.stem = _conv(12, width)
        self.down = nn.ModuleList([Residual(width, width, condition), Residual(width, width, condition)])
        self.shrink = _conv(width, deep, stride=2)
        self.deep = nn.ModuleList([Residual(deep, deep, condition), Residual(deep, deep, condition)])
        self.attention = Attention(deep)
        self.rise = Residual(2 * deep, deep, condition)
        self.grow = _conv(deep, width)
        self.up = nn.ModuleList([Residual(2 * width, width, condition), Residual(width, width, condition)])
        self.head = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), _conv(width, 12))

    def forward(self, x: Images, time: Float[Tensor, " b"], captions: Captions) -> Images:
        frequencies = torch.exp2(torch.arange(8, device=x.device, dtype=x.dtype) / 1.5)
        angles = time[:, None] * frequencies * torch.pi / 4
        condition = self.caption(captions) + self.time(torch.cat([angles.sin(), angles.cos()], dim=1))
        fine = self.stem(F.pixel_unshuffle(x, 2))
        for block in self.down:
            fine = block(fine, condition)
        coarse = shrunk = self.shrink(fine)
        coarse = self.attention(self.deep[0](coarse, condition))
        coarse = self.rise(torch.cat([self.deep[1](coarse, condition), shrunk], dim=1), condition)
        h = torch.cat([self.grow(F.interpolate(coarse, scale_factor=2.0)), fine], dim=1)
        for block in self.up:
            h = block(h, condition)
        return F.pixel_shuffle(self.head(h), 2)


def _pyramid(width: int) -> nn.Sequential:
    """From images (b, 3, 32, 32) to features (b, 4 * width, 4, 4), in three strided stages."""
    layers: list[nn.Module] = [_conv(3, width), nn.SiLU()]
    for stage in range(3):
        inputs, outputs = width * min(2**stage, 4), width * min(2 ** (stage + 1), 4)
        layers += [_conv(inputs, outputs, stride=2), nn.GroupNorm(8, outputs), nn.SiLU()]
        layers += [_conv(outputs, outputs), nn.GroupNorm(8, outputs), nn.SiLU()]
    return nn.Sequential(*layers)


class Regressor(nn.Module):
    """From an image in [0, 1] to a number, which is trained to be the aesthetic measure."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.features = _pyramid(width)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(4 * width * 16, 64), nn.SiLU(), nn.Linear(64, 1))

    def forward(self, image: Images) -> Float[Tensor, " b"]:
        return self.head(self.features(2 * image - 1)).squeeze(1)


class Classifier(nn.Module):
    """From an image in [0, 1] to logits of the 40 objects of ``captions.OBJECTS``, for the measures of diversity.

    The logits are linear in the features (b, 64) of ``embed``, which say what is in the picture but not where.
    """

    def __init__(self, width: int = 8, embedding: int = 64) -> None:
        super().__init__()
        self.features = _pyramid(width)
        self.neck = nn.Sequential(nn.Linear(4 * width, embedding), nn.SiLU())
        self.head = nn.Linear(embedding, ABSENT)

    def embed(self, image: Images) -> Float[Tensor, "b d"]:
        return self.neck(self.features(2 * image - 1).amax(dim=(2, 3)))

    def forward(self, image: Images) -> Float[Tensor, "b objects"]:
        return self.head(self.embed(image))


class DualEncoder(nn.Module):
    """A convolutional image tower and a caption tower whose outputs lie on a unit sphere, as CLIP's."""

    def __init__(self, width: int = 24, embedding: int = 64) -> None:
        super().__init__()
        self.features = _pyramid(width)
        self.image_head = nn.Sequential(
            nn.Flatten(), nn.Linear(4 * width * 16, 128), nn.SiLU(), nn.Linear(128, embedding)
        )
        self.text_tower = nn.Sequential(CaptionEmbedding(128), nn.SiLU(), nn.Linear(128, embedding))
        self.log_scale = nn.Parameter(torch.tensor(2.7))  # log of the inverse temperature, for training only

    def embed_text(self, captions: Captions) -> Float[Tensor, "b d"]:
        return F.normalize(self.text_tower(captions), dim=1)

    def embed_image(self, image: Images) -> Float[Tensor, "b d"]:
        return F.normalize(self.image_head(self.features(2 * image - 1)), dim=1)


class CrossMatcher(nn.Module):
    """A transformer over the caption, as a first token, and the picture's patches; returns the logit of "they fit"."""

    def __init__(self, width: int = 96, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.stem = nn.Sequential(_conv(width, width), nn.SiLU(), _conv(width, width))
        self.position = nn.Parameter(0.02 * torch.randn(64, width))
        self.caption = CaptionEmbedding(width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))

    def forward(self, image: Images, captions: Captions) -> Float[Tensor, " b"]:
        patches = self.patches(2 * image - 1)
        tokens = (patches + self.stem(patches)).flatten(2).transpose(1, 2) + self.position
        tokens = torch.cat([self.caption(captions)[:, None], tokens], dim=1)
        return self.head(self.layers(tokens)[:, 0]).squeeze(1)
