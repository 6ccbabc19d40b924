"""ImageReward's network in transformers' BLIP: the published file has other names for the same weights."""

import json
import re
from pathlib import Path

from torch import Tensor, nn
from transformers import BlipTextConfig, BlipVisionConfig
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

from gradproj.errors import UserError
from gradproj.pretrained.score_head import ScoreHead
from gradproj.pretrained.weights_file import State, fill, read

HEAD_WIDTH = 64  # of the vision transformer's attention; the file does not say
UNUSED = ("blip.vision_proj.", "blip.text_proj.", "blip.text_encoder.embeddings.position_ids")
RENAMED = (
    (r"^blip\.text_encoder\.", "text."),
    (r"^mlp\.", "head."),
    (r"^blip\.visual_encoder\.blocks\.", "vision.encoder.layers."),
    (r"^blip\.visual_encoder\.norm\.", "vision.post_layernorm."),
    (r"^blip\.visual_encoder\.cls_token$", "vision.embeddings.class_embedding"),
    (r"^blip\.visual_encoder\.pos_embed$", "vision.embeddings.position_embedding"),
    (r"^blip\.visual_encoder\.patch_embed\.proj\.", "vision.embeddings.patch_embedding."),
    (r"^(vision\..*)\.attn\.proj\.", r"\1.self_attn.projection."),
    (r"^(vision\..*)\.attn\.qkv\.", r"\1.self_attn.qkv."),
    (r"^(vision\..*)\.norm([12])\.", r"\1.layer_norm\2."),
)


class BlipReward(nn.Module):
    """(b, 3, size, size) pixels and (b, 2, t) tokens to (b,), before the mean and the standard deviation."""

    def __init__(self, vision: BlipVisionConfig, text: BlipTextConfig) -> None:
        super().__init__()
        self.vision = BlipVisionModel(vision)
        self.text = BlipTextModel(text, add_pooling_layer=False)
        self.head = ScoreHead(text.hidden_size)
        self.size: int = self.vision.embeddings.image_size  # type: ignore[assignment]

    def forward(self, pixels: Tensor, text: Tensor) -> Tensor:
        seen = self.vision(pixel_values=pixels.to(self.vision.dtype)).last_hidden_state
        read = self.text(input_ids=text[:, 0], attention_mask=text[:, 1], encoder_hidden_states=seen).last_hidden_state
        return self.head(read[:, 0]).to(pixels.dtype)


def load_blip(path: Path, description: Path) -> BlipReward:
    """The network that the weight file ``path`` and its med_config.json are of; ``UserError`` if they are of none."""
    state = {_rename(key): value for key, value in read(path).items() if not key.startswith(UNUSED)}
    vision = _vision_config(state, path)
    try:
        fields = json.loads(description.read_text(encoding="utf-8"))
        names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        names += ("max_position_embeddings", "hidden_act", "layer_norm_eps", "pad_token_id")
        sizes = {name: fields[name] for name in names}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{description} does not describe a text encoder ({error}): give the published file") from error
    text = BlipTextConfig(**sizes, encoder_hidden_size=vision.hidden_size, bos_token_id=None, is_decoder=True)
    return fill(lambda: BlipReward(vision, text), state, path)


def _vision_config(state: State, path: Path) -> BlipVisionConfig:
    """The vision transformer's sizes, read off its weights; its heads are HEAD_WIDTH wide."""
    try:
        width, _, patch, _ = state["vision.embeddings.patch_embedding.weight"].shape
        positions = state["vision.embeddings.position_embedding"].shape[1]
        inner = state["vision.encoder.layers.0.mlp.fc1.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} holds no vision transformer ({error}): give the published file") from error
    return BlipVisionConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=sum(key.startswith("vision.") and key.endswith("mlp.fc1.bias") for key in state),
        num_attention_heads=width // HEAD_WIDTH,
        image_size=patch * round((positions - 1) ** 0.5),
        patch_size=patch,
        layer_norm_eps=1e-6,
    )


def _rename(key: str) -> str:
    for pattern, replacement in RENAMED:
        key = re.sub(pattern, replacement, key)
    return key
