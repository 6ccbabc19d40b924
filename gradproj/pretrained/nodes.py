"""The two nodes of a part's settings that a run's name leaves out: ``source`` and ``memory``.

``source`` says where the weights come from; the name covers the weights themselves (``weights``, names and hashes)
instead. ``memory`` says how the networks fit in memory, which changes no number. All else that a part is given changes
its numbers and stands beside the two.

Settings are checked against the annotations here and in every constructor before anything is made
(``execution.settings.parts``).
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import MinLen
from pydantic import Field

from gradproj.pretrained.recompute import Policy

Text = Annotated[str, MinLen(1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]
RewardDtype = Literal["float32", "bfloat16", "float64"]  # float16 would round a reward's small gradients to zero


@dataclass(frozen=True, kw_only=True)
class PipelineSource:
    """A diffusers pipeline: a hub id (owner/name) at ``revision``, or a local folder, for which it says nothing.

    ``variant`` is the published files' (``fp16``: ``*.fp16.safetensors``), None for those without one. ``cache`` is the
    folder of the prompts' embeddings. ``tiny_repo`` is the small decoder of ``decoder=tiny``, a hub id at
    ``tiny_revision`` or a folder; None: there is none.
    """

    repo: Text
    revision: Text
    variant: Text | None
    cache: Text
    tiny_repo: Text | None = None
    tiny_revision: Text = "main"


@dataclass(frozen=True)
class PipelineMemory:
    """What of the denoiser and of the decoder is computed again in the backward pass (``recompute``).

    ``auto``: what is chosen for the GPU's memory, or nothing. ``text_encoder_device`` is where the text encoders are
    while prompts are encoded; None: where the model is.
    """

    checkpointing: Policy | Literal["auto"]
    decoder_checkpointing: Policy | Literal["auto"]
    text_encoder_device: Text | None


@dataclass(frozen=True)
class FileSource:
    """A weight file: in a hub repository at ``revision`` or in a local folder; ``sha256`` None: not compared."""

    repo: Text
    revision: Text
    sha256: Sha256 | None


@dataclass(frozen=True)
class TowerMemory:
    """``blocks``: the transformer's blocks are computed again in the backward pass instead of kept."""

    checkpointing: Literal["none", "blocks"]
