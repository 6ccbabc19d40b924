"""A published pipeline's files, from the hub or a local folder: told apart, fetched, loaded in two halves.

First the small files, which say what the pipeline is; then the weights. The text half (tokenizers, text encoders) comes
for the prompts and goes; the picture half (denoiser, decoder, scheduler) stays on the device, frozen. Safetensors only;
nothing is fetched or loaded that the job does not need.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from torch import nn

from gradproj.errors import UserError
from gradproj.files import sha256
from gradproj.pretrained import hub, layout
from gradproj.pretrained.network import ANOTHER, CPU, LOADING, freeze, load_network, network_class
from gradproj.pretrained.quantized import Quantization, quantize, stored_bytes


@dataclass(frozen=True)
class Source:
    """``parts`` of the pipeline ``repo``. ``commit`` is None for a local folder.

    ``weights`` says what the files are, after ``with_weights``: {hub id: commit}, or {file: sha256} for a local folder.
    """

    folder: Path
    repo: str
    commit: str | None
    variant: str | None
    kind: type[Any]  # the diffusers pipeline class
    parts: Sequence[str]
    weights: Mapping[str, str] = field(default_factory=dict)
    quantized: Mapping[str, Quantization] = field(default_factory=dict)  # part -> how its weights are stored

    def config(self, part: str) -> dict[str, Any]:
        """A network's config.json."""
        return layout.read_json(self.folder / part / "config.json")

    def scheduler(self) -> Any:
        """The scheduler, new."""
        entry: Any = layout.read_json(self.folder / layout.INDEX).get("scheduler")
        try:
            return getattr(diffusers, entry[1]).from_pretrained(self.folder / "scheduler")
        except (AttributeError, *LOADING) as error:
            raise UserError(f"{self.repo}: its scheduler {entry} cannot be loaded: {error}: fetch it again") from error

    def with_weights(self) -> "Source":
        """The same with its weights named: by the commit, or, of a local folder, hashed.

        ``UserError`` if a local folder lacks some; those of a hub are looked at when they are fetched.
        """
        if self.commit is not None:
            name = f"{self.repo} ({self.variant})" if self.variant else self.repo
            return replace(self, weights={name: self.commit})
        found, patterns = self, layout.weight_patterns(self.parts, self.variant)
        if not any(path for pattern in patterns for path in self.folder.glob(pattern)):
            found = replace(self, variant=None)  # a folder of your own need not have the published variant
            patterns = layout.weight_patterns(self.parts, None)
        layout.check_weights(found.folder, found.repo, found.variant, found.parts)
        files = {p for pattern in [*layout.small_patterns(self.parts), *patterns] for p in self.folder.glob(pattern)}
        hashes = {path.relative_to(self.folder).as_posix(): sha256(path) for path in sorted(files)}
        return replace(found, weights=hashes)

    def fetch(self) -> None:
        """Bring the weights here, if they are on the hub; ``UserError`` if some are missing there."""
        if self.commit is not None:
            patterns = layout.weight_patterns(self.parts, self.variant)
            hub.snapshot(self.repo, self.commit, [*layout.small_patterns(self.parts), *patterns])
            layout.check_weights(self.folder, self.repo, self.variant, self.parts)

    def load(self, parts: Sequence[str], dtype: torch.dtype, device: torch.device, **ready: Any) -> Any:
        """The diffusers pipeline with only ``parts`` and what is ``ready`` in it, frozen, in eval mode, on ``device``.

        The weights are fetched, if they are not here.
        An encoder half of a VAE is dropped before it gets there. ``UserError`` if the weights are more than the GPU
        holds, cut, or do not fit their configuration.
        """
        self.fetch()
        self._check_room(parts, dtype, device)
        index = layout.read_json(self.folder / layout.INDEX)
        absent = {name: None for name, value in index.items() if isinstance(value, list) and name not in parts}
        flags = {name: False for name in ("requires_safety_checker",) if name in index}
        try:
            with torch.random.fork_rng(devices=[]):  # what a network draws before it is filled changes no other's
                ready |= {part: self._network(part, index, dtype, device) for part in parts if self._is_network(part)}
                for part in self.quantized.keys() & ready.keys():
                    quantize(ready[part], self.quantized[part], device)
                pipeline = self.kind.from_pretrained(
                    self.folder, dtype=dtype, local_files_only=True, **{**absent, **flags, **ready}
                )
        except LOADING as error:
            raise UserError(
                f"{self.repo} cannot be loaded as {self.kind.__name__}: {error}: type model.source.repo={ANOTHER}"
            ) from error
        for module in pipeline.components.values():
            if isinstance(module, nn.Module):
                freeze(module, device)
        return pipeline

    def text_identity(self, parts: Sequence[str], dtype: torch.dtype) -> dict[str, Any]:
        """What a prompt's embedding depends on besides the prompt and how it is asked for, ready for JSON."""
        folders = tuple(f"{part}/" for part in parts)
        weights = {k: v for k, v in self.weights.items() if self.commit or k.startswith(folders)}
        versions = {"diffusers": diffusers.__version__, "transformers": transformers.__version__}
        quantized = {part: kind for part, kind in self.quantized.items() if part in parts}
        return {"weights": weights, "dtype": str(dtype), **({"quantized": quantized} if quantized else {}), **versions}

    def _is_network(self, part: str) -> bool:
        """Rather than a tokenizer or a scheduler."""
        return (self.folder / part / "config.json").exists()

    def _network(self, part: str, index: Mapping[str, Any], dtype: torch.dtype, device: torch.device) -> Any:
        label, advice = f"{self.repo}/{part}", f"model.source.repo={ANOTHER}"
        kind = network_class(index.get(part), label)
        aside = part == "vae" or part in self.quantized  # it loses its encoder first (``freeze``), or goes by layers
        return load_network(kind, self.folder / part, label, dtype, advice, self.variant, CPU if aside else device)

    def weight_bytes(self, part: str, dtype: torch.dtype, stored: Quantization = "none") -> int:
        """Of the weights of ``part``."""
        files = [path for pattern in layout.weight_patterns([part], self.variant) for path in self.folder.glob(pattern)]
        return stored_bytes(layout.shapes(files), stored, dtype.itemsize)

    def _check_room(self, parts: Sequence[str], dtype: torch.dtype, device: torch.device) -> None:
        if device.type != "cuda":
            return
        needed = sum(self.weight_bytes(part, dtype, self.quantized.get(part, "none")) for part in parts)
        free, total = torch.cuda.mem_get_info(device)
        if needed > free:
            networks = [part for part in parts if self._is_network(part)]
            text = any(part.startswith("text_encoder") for part in networks)
            keep = (
                "keep them off it: model.memory.text_encoder_device=cpu" if text else "score at the end: held_out=after"
            )
            raise UserError(
                f"{' and '.join(networks)} need {needed / 2**30:.1f} GiB in {dtype}, the GPU has {free / 2**30:.1f} of "
                f"{total / 2**30:.1f} GiB free: take a larger GPU (docs/models.md lists the needs), "
                f"close what else runs on it, or {keep}"
            )


def fetch(repo: str, revision: str, variant: str | None, kind: type[Any], parts: Sequence[str]) -> Source:
    """The small files of ``parts`` of the pipeline ``repo``: a hub id at ``revision``, or a local folder as it is.

    ``variant`` names the weights to take, ``model.fp16.safetensors``; a local folder may be without it.
    Raises ``UserError`` when it is not what is needed, before any weight is fetched.
    """
    folder, commit = layout.local_folder(repo), None
    if folder is None:
        small, large = layout.small_patterns(parts), layout.weight_patterns(parts, variant)
        folder, commit = hub.snapshot(repo, revision, small, later=large)
    layout.check_kind(folder, repo, kind, parts)
    return Source(folder, repo, commit, variant, kind, parts)
