"""Prompt embeddings on disk: a sweep encodes each prompt once, and a warm cache needs no text encoder at all."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gradproj.errors import UserError
from gradproj.files import place
from gradproj.pretrained.release import release
from gradproj.pretrained.source import Source


def parse_device(name: str | None, device: torch.device) -> torch.device:
    """The text encoders' device: ``device`` if none is named."""
    try:
        return torch.device(name or device)
    except RuntimeError as error:
        raise UserError(
            f"model.memory.text_encoder_device must be null or a device such as cpu or cuda:1, got {name!r}: "
            "type model.memory.text_encoder_device=cpu"
        ) from error


class PromptEmbeddings:
    """What a pipeline's ``encode_prompt`` answers, one safetensors file per prompt in the folder ``cache``.

    A file's name is a hash over the prompt and all else that the embedding depends on: weights, dtype, ``settings``,
    library versions. One that is cut, or that another key stands in, is made again. ``names`` calls the answers, in
    order, what the denoiser calls them; None drops one. ``settings`` go to ``encode_prompt``.
    """

    def __init__(
        self,
        *,
        source: Source,
        parts: Sequence[str],
        dtype: torch.dtype,
        device: torch.device,
        encoder_device: torch.device,
        cache: str,
        names: Sequence[str | None],
        settings: Mapping[str, Any],
    ) -> None:
        self.source, self.parts, self.dtype, self.device = source, parts, dtype, device
        self.encoder_device, self.folder = encoder_device, Path(cache).expanduser()
        self.names, self.settings = names, settings
        self.identity = {**source.text_identity(parts, dtype), "settings": dict(settings)}

    def get(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """{name: (b, ...)} on the device. The text encoders are loaded only for a new prompt, and let go of after it.

        Each prompt is encoded alone, so its embedding does not depend on what stands beside it.
        """
        entries = {prompt: self._read(prompt) for prompt in prompts}
        missing = [prompt for prompt, entry in entries.items() if entry is None]
        if missing:
            entries |= self._encode(missing)
            release()
        rows = [entries[prompt] or {} for prompt in prompts]
        return {name: torch.stack([row[name] for row in rows]).to(self.device) for name in rows[0]}

    @torch.no_grad()
    def _encode(self, prompts: Sequence[str]) -> dict[str, dict[str, Tensor]]:
        pipeline = self.source.load(self.parts, self.dtype, self.encoder_device)
        entries = {}
        for prompt in prompts:
            answers = pipeline.encode_prompt(prompt, device=self.encoder_device, **self.settings)
            entries[prompt] = {name: answer[0].cpu() for name, answer in zip(self.names, answers, strict=True) if name}
            self._write(prompt, entries[prompt])
        return entries

    def _key(self, prompt: str) -> str:
        return json.dumps({**self.identity, "prompt": prompt}, sort_keys=True)

    def _path(self, prompt: str) -> Path:
        return self.folder / f"{hashlib.sha256(self._key(prompt).encode()).hexdigest()[:32]}.safetensors"

    def _read(self, prompt: str) -> dict[str, Tensor] | None:
        try:
            with safe_open(self._path(prompt), framework="pt") as file:
                if (file.metadata() or {}).get("key") != self._key(prompt):
                    return None
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError):
            return None

    def _write(self, prompt: str, tensors: dict[str, Tensor]) -> None:
        content = save({name: tensor.contiguous() for name, tensor in tensors.items()}, {"key": self._key(prompt)})
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            place(self._path(prompt), content)
        except OSError as error:
            raise UserError(
                f"prompt embeddings cannot be written to {self.folder}: {error.strerror}; "
                "make room or give another folder: model.source.cache=PATH"
            ) from error
