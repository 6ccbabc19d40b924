"""The Inception of the published scores: torch-fidelity's ``inception-v3-compat``, TensorFlow's weights of 2015-12-05.

Eight-bit pictures are resized to 299 x 299 as TensorFlow 1 did (bilinear, no antialiasing) by torch-fidelity itself.
Two of its habits are not taken over. It unpickles whatever its weights file holds, where only tensors are read here.
On a GPU it convolves in TF32, where float32 is used here, as on a processor.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from PIL.Image import Image as Picture
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
from torchvision.transforms.functional import pil_to_tensor

from gradproj.errors import UserError
from gradproj.pretrained import weights_file
from gradproj.types import default_device

SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"  # of the published 95,628,359 bytes
FILE = URL_INCEPTION_V3.rsplit("/", 1)[-1]  # the published name, which stands for any copy of the file
LAYERS = ["2048", "logits_unbiased"]


class Inception:
    """Features (b, 2048): the last pooling. Logits (b, 1008): without the last layer's bias, as the score has them."""

    def __init__(self, weights: str | None = None, sha256: str | None = None) -> None:
        """``weights`` is a local file. By default it is the published one, which is fetched into torch's cache (96 MB).

        The file must have the hash ``sha256``, by default the published one's. Raises ``UserError`` where it has
        another hash, is not there or is not for this network.
        """
        path, found = _published() if weights is None else weights_file.one_file(weights, None)
        expected = (sha256 or SHA256).lower()
        if found != expected:
            raise UserError(
                f"{path} is cut or another file: expected sha256 {expected}, found {found}; "
                f"give the published file ({URL_INCEPTION_V3}), or say that you mean this one: --sha256 {found}"
            )
        buffer = io.BytesIO()
        torch.save(weights_file.read(path), buffer)
        buffer.seek(0)
        try:
            network = FeatureExtractorInceptionV3("inception-v3-compat", LAYERS, buffer)  # type: ignore[arg-type]
        except RuntimeError as error:
            lines = " ".join(str(error).split())[:200]
            raise UserError(f"{path} was not made for torch-fidelity's Inception ({lines}): give its file") from error
        self.device = default_device()
        self.network = network.to(self.device)
        self.weights = {FILE if found == SHA256 else path.name: found}

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Picture]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b classes"]]:
        """Features and logits; pictures of one size go through the network together, others one by one."""
        images = [pil_to_tensor(picture.convert("RGB")) for picture in pictures]
        together = (
            [torch.stack(images)] if len({image.shape for image in images}) == 1 else [image[None] for image in images]
        )
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            parts = [self.network(part.to(self.device)) for part in together]
        features, logits = (torch.cat(batches).cpu() for batches in zip(*parts, strict=True))
        return features, logits


def _published() -> tuple[Path, str]:
    """The path and the sha256 of the published file, fetched where it is not in the cache."""
    try:
        return weights_file.one_file(URL_INCEPTION_V3, SHA256)
    except UserError as error:
        raise UserError(f"the Inception's weights: {error}; a copy at hand is given as --weights PATH") from error


def load(weights: str | None, sha256: str | None) -> Inception:
    """The Inception, as its constructor describes."""
    return Inception(weights, sha256)
