"""The two nodes of a part's settings that a run's name leaves out: ``source`` and ``memory``.

``source`` says where the weights come from; the name covers the weights themselves (``weights``, names and hashes)
instead. ``memory`` says how the networks fit in memory, which changes no number. All else that a part is given changes
its numbers and stands beside the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from gradproj.errors import UserError

Node = TypeVar("Node")


@dataclass(frozen=True)
class PipelineSource:
    """A diffusers pipeline: a hub id (owner/name) at ``revision``, or a local folder, for which it says nothing.

    ``variant`` is the published files' (``fp16``: ``*.fp16.safetensors``), None for those without one. ``cache`` is the
    folder of the prompts' embeddings.
    """

    repo: str
    revision: str
    variant: str | None
    cache: str


@dataclass(frozen=True)
class PipelineMemory:
    """What of the denoiser and of the decoder is computed again in the backward pass (``recompute``).

    ``text_encoder_device`` is where the text encoders are while prompts are encoded; None: where the model is.
    """

    checkpointing: Literal["none", "blocks", "full"]
    decoder_checkpointing: Literal["none", "blocks", "full"]
    text_encoder_device: str | None


@dataclass(frozen=True)
class FileSource:
    """A weight file: in a hub repository at ``revision`` or in a local folder; ``sha256`` None: not compared."""

    repo: str
    revision: str
    sha256: str | None


@dataclass(frozen=True)
class TowerMemory:
    """``blocks``: the transformer's blocks are computed again in the backward pass instead of kept."""

    checkpointing: Literal["none", "blocks"]


def as_node(kind: type[Node], value: Node | Mapping[str, Any]) -> Node:
    """``value`` as a ``kind``; ``UserError`` for a mapping with other keys."""
    if isinstance(value, kind):
        return value
    try:
        return kind(**value)  # type: ignore[arg-type]
    except TypeError as error:
        raise UserError(f"{kind.__name__}: {error}") from error
