"""The networks of the miniature that look at pictures: a regressor, two image-text matchers and a classifier.

Every network normalises each sample by itself (group norm), so that a batch gives what its images give alone.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gradproj.miniature.captions import ABSENT, COLOURS, SHAPES

Captions = Int[Tensor, "b 2"]
Images = Float[Tensor, "b 3 32 32"]


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """3 x 3, with a rim of one pixel."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


class CaptionEmbedding(nn.Module):
    """From object indices (b, 2) to (b, width): a learnt vector for each object and position, then a small MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.objects = nn.ModuleList(nn.Embedding(ABSENT + 1, width) for _ in range(2))
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, captions: Captions) -> Float[Tensor, "b width"]:
        return self.mlp(self.objects[0](captions[:, 0]) + self.objects[1](captions[:, 1]))


def _pyramid(width: int) -> nn.Sequential:
    """From images (b, 3, 32, 32) to features (b, 4 * width, 4, 4), in three strided stages."""
    layers: list[nn.Module] = [conv(3, width), nn.SiLU()]
    for stage in range(3):
        inputs, outputs = width * min(2**stage, 4), width * min(2 ** (stage + 1), 4)
        layers += [conv(inputs, outputs, stride=2), nn.GroupNorm(8, outputs), nn.SiLU()]
        layers += [conv(outputs, outputs), nn.GroupNorm(8, outputs), nn.SiLU()]
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
            *(conv(3, width // 2, stride=2), nn.GroupNorm(8, width // 2), nn.SiLU()),
            *(conv(width // 2, width, stride=2), nn.GroupNorm(8, width), nn.SiLU()),
            *(conv(width, width), nn.GroupNorm(8, width), nn.SiLU(), conv(width, width)),
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
