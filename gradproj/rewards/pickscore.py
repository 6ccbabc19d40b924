"""PickScore: a CLIP ViT-H/14 tuned to which of two pictures people picked for a prompt.

Source: https://huggingface.co/yuvalkirstain/PickScore_v1 (model card), arXiv 2305.01569.
"""

from collections.abc import Sequence

import torch
from PIL.Image import Image as Picture
from transformers import CLIPModel

from gradproj.pretrained.clip_tower import Embedding, Prompts, cosine, embed_image, image_size, load_tower
from gradproj.pretrained.preprocess import centre_transformers, fit, fit_pictures, pair_up
from gradproj.types import Image, Score, default_device


class PickScore:
    """Unit: cosine of image and text embedding, about 0.16 to 0.26; the model card's number is 100 times it.

    ``repo``: the weights, a hub id at ``revision`` or a local folder, whose model.safetensors has ``sha256`` (None: not
    compared). ``tokenizer``: where tokenizer.json is, at ``tokenizer_revision``. ``dtype``: float32, bfloat16 or
    float64. ``checkpointing``: none or blocks. ``UserError`` for what does not fit.
    """

    def __init__(
        self,
        repo: str,
        revision: str,
        sha256: str | None,
        tokenizer: str,
        tokenizer_revision: str,
        dtype: str,
        checkpointing: str,
    ) -> None:
        self.device = default_device()
        self.network, weights = load_tower(CLIPModel, repo, revision, sha256, dtype, checkpointing)
        self.prompts = Prompts(self.network, tokenizer, tokenizer_revision)
        self.weights = weights | self.prompts.weights
        self.size = image_size(self.network)

    def encode(self, prompts: Sequence[str]) -> Embedding:
        return self.prompts.embed(prompts)

    def __call__(self, image: Image, text: Embedding) -> Score:
        embedding = embed_image(self.network, fit(image, self.size, centre_transformers))
        return cosine(embedding, text)

    @torch.no_grad()
    def score(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> Score:
        pair_up(pictures, prompts)
        pixels = fit_pictures(pictures, self.size, centre_transformers).to(self.device)
        return cosine(embed_image(self.network, pixels), self.encode(prompts)).cpu()
