"""The networks of the miniature: a generator, a regressor, two image-text matchers and a classifier.

Every network normalises each sample by itself (group norm), so that a batch gives what its images give alone.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gradproj.miniature.captions import ABSENT, COLOURS, SHAPES
from gradproj.miniature.render import SIZE

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
        self.stem, self.shrink = _conv(12, width), _conv(width, deep, stride=2)
        self.shrink.weight.data *= 0.1  # where a token is matters more than the noise that lies there
        self.position = nn.Parameter(_waves(8, deep))
        self.objects = nn.ModuleList(nn.Embedding(ABSENT + 1, deep) for _ in range(2))
        self.where = nn.ModuleList(nn.Linear(condition, deep) for _ in range(2))
        self.deep = nn.ModuleList(Transformer(deep, condition) for _ in range(depth))
        self.grow = nn.Conv2d(deep, 4 * width, 1)
        self.up = nn.ModuleList([Residual(2 * width, width, condition), Residual(width, width, condition)])
        self.head = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), _conv(width, 12))

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
    """A transformer over the caption's two objects and a picture of 8 x 8 tokens; the logit of "they fit".

    An object's token is a sum over its colour and its shape. ``parts`` has the logits of each object's presence, too,
    for training.
    """

    def __init__(self, width: int = 96, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *(_conv(3, width // 2, stride=2), nn.GroupNorm(8, width // 2), nn.SiLU()),
            *(_conv(width // 2, width, stride=2), nn.GroupNorm(8, width), nn.SiLU()),
            *(_conv(width, width), nn.GroupNorm(8, width), nn.SiLU(), _conv(width, width)),
        )
        self.position = nn.Parameter(0.02 * torch.randn(64, width))
        self.colour, self.shape = nn.Embedding(len(COLOURS) + 1, width), nn.Embedding(len(SHAPES), width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm, self.presence, self.head = nn.LayerNorm(width), nn.Linear(width, 1), nn.Linear(2 * width, 1)

    def forward(self, image: Images, captions: Captions) -> Float[Tensor, " b"]:
        return self.parts(image, captions)[:, 0]

    def parts(self, image: Images, captions: Captions) -> Float[Tensor, "b 3"]:
        """The logits of "they fit", of the first object and of the second, or of there being no second."""
        seen = self.stem(2 * image - 1).flatten(2).transpose(1, 2) + self.position
        named = self.colour(captions // len(SHAPES)) + self.shape(captions % len(SHAPES))  # ABSENT has a colour alone
        objects = self.norm(self.layers(torch.cat([named, seen], dim=1))[:, :2])
        return torch.cat([self.head(objects.flatten(1)), self.presence(objects).squeeze(2)], dim=1)
