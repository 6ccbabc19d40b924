"""The small decoder of the climb: an AutoencoderTiny, distilled to draw nearly what the full VAE draws.

It takes the latent as the denoiser gives it (its own configuration has scaling factor 1 and shift 0), and a fortieth of
the work. What is scored and saved is still drawn by the full VAE (``types.Model.render``).
"""

from typing import Any, Literal

import torch
from diffusers import AutoencoderTiny

from gradproj.errors import UserError
from gradproj.pretrained.component import Component, fetch_component
from gradproj.pretrained.network import freeze
from gradproj.pretrained.nodes import PipelineSource
from gradproj.pretrained.recompute import Policy, recompute

Decoder = Literal["full", "tiny"]  # what decodes in the climb
INSTEAD = "type model.decoder=full, or model.source.tiny_repo=..., a folder or a hub id of one for these latents"


def find(source: PipelineSource) -> Component:
    """The one that ``source`` names, its weights not yet fetched; ``UserError`` where there is none or another kind."""
    if source.tiny_repo is None:
        raise UserError(f"model.decoder=tiny: there is no published AutoencoderTiny for this model: {INSTEAD}")
    found = fetch_component(AutoencoderTiny, source.tiny_repo, source.tiny_revision, "model.source.tiny_repo")
    name = found.config.get("_class_name")
    if name != AutoencoderTiny.__name__:
        raise UserError(f"model.source.tiny_repo={source.tiny_repo} is a {name}, not an AutoencoderTiny: {INSTEAD}")
    return found


def expect_fit(found: Component, channels: int, scale: int) -> None:
    """``UserError`` unless it takes latents of ``channels`` and makes ``scale`` pixels a side of a latent pixel."""
    config = found.config
    try:
        own = config["latent_channels"], config["upsampling_scaling_factor"] ** (len(config["num_decoder_blocks"]) - 1)
    except (KeyError, TypeError) as error:
        raise UserError(f"{found.folder}/config.json is not an AutoencoderTiny's ({error!r}): {INSTEAD}") from error
    if own != (channels, scale):
        raise UserError(
            f"model.decoder=tiny: {found.name} decodes latents of {own[0]} channels to {own[1]} pixels a side, "
            f"this model's have {channels} channels and want {scale}: {INSTEAD}"
        )


def load(found: Component, dtype: torch.dtype, device: torch.device, policy: Policy) -> Any:
    """The network on ``device``, frozen, without its encoder, under the activation policy ``policy``."""
    network = found.load(dtype)
    freeze(network, device)
    recompute(network.decoder, policy)
    return network
