"""What the published one-step models share: where their files come from, how they are held, what prompts become."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

from gradproj.errors import UserError, all_of
from gradproj.pretrained import tiny_decoder
from gradproj.pretrained.component import Component
from gradproj.pretrained.embeddings import PromptEmbeddings, parse_device
from gradproj.pretrained.layout import latent_side
from gradproj.pretrained.nodes import PipelineMemory, PipelineSource
from gradproj.pretrained.precision import GradientRange
from gradproj.pretrained.published_pipeline import draw
from gradproj.pretrained.quantized import Quantization
from gradproj.pretrained.recompute import Policy, recompute
from gradproj.pretrained.source import fetch
from gradproj.types import Image, Latent, default_device

Dtype = Literal["bfloat16", "float16", "float32", "float64"]
Resolution = Annotated[int, Ge(16)]  # pixels a side


class OneStepModel:
    """A ``Model`` on the parts of a diffusers pipeline; what it lacks is ``plan`` and ``draw``.

    The keys are explained in each model's YAML; what a wrong one raises is a ``UserError``, before any weight is
    fetched where the small files tell. A latent is float32, entrywise N(0, 1); only what enters a network is cast.
    """

    kind: ClassVar[type[Any]]  # the diffusers pipeline class
    text: ClassVar[tuple[str, ...]]  # its parts that make embeddings of prompts
    denoiser: ClassVar[str]
    answers: ClassVar[tuple[str | None, ...]]  # what the denoiser calls the answers of encode_prompt; None: not used
    vae_levels: ClassVar[str] = "block_out_channels"  # the key of the VAE's config that has an entry per level
    patch: ClassVar[int] = 1  # latent pixels a side that the denoiser takes together
    wants_gpu: ClassVar[bool] = True
    large: ClassVar[tuple[str, ...]] = ()  # the parts that ``quantization`` is about
    quantization: Quantization = "none"

    def __init__(
        self,
        resolution: Resolution,
        dtype: Dtype,
        source: PipelineSource,
        memory: PipelineMemory,
        decoder: tiny_decoder.Decoder = "full",  # as quantization
    ) -> None:
        self.dtype, self.device, self.resolution = getattr(torch, dtype), default_device(), resolution
        self.gradient_range = GradientRange(self.dtype)
        encoder_device = parse_device(memory.text_encoder_device, self.device)
        given: dict[str, Policy | Literal["auto"]] = {
            "decoder_checkpointing": memory.decoder_checkpointing,
            "checkpointing": memory.checkpointing,
        }
        self.policies: dict[str, Policy] = {}
        for key, policy in given.items():
            self.policies[key] = "none" if policy == "auto" else policy
        replacement = self.find_replacement(source)
        self.picture = [self.denoiser] if replacement else [self.denoiser, "vae"]
        parts = [*self.text, *self.picture, "scheduler"]
        self.replacement, self.tiny, small = all_of(
            replacement or (lambda: None),
            lambda: tiny_decoder.find(source) if decoder == "tiny" else None,
            lambda: fetch(source.repo, source.revision, source.variant, self.kind, parts),
        )
        config = small.config(self.denoiser)
        if not isinstance(config.get("in_channels"), int):
            raise UserError(
                f"{source.repo}/{self.denoiser}/config.json has no in_channels: it is not of the kind needed"
            )
        self.scale = self._scale(self.replacement.config if self.replacement else small.config("vae"), source.repo)
        if self.tiny:
            tiny_decoder.expect_fit(self.tiny, config["in_channels"] // self.patch**2, self.scale)
        self.side = latent_side(resolution, self.scale * self.patch)
        self.scheduler = small.scheduler()
        self.plan(config, self.scheduler)
        self.latent_shape = (config["in_channels"], self.side, self.side)
        stored = dict.fromkeys(self.large, self.quantization) if self.quantization != "none" else {}
        self.source = replace(small, quantized=stored).with_weights()
        components = [component for component in (self.replacement, self.tiny) if component]
        self.weights = {**self.source.weights, **{k: v for one in components for k, v in one.weights.items()}}
        self.embeddings = PromptEmbeddings(
            source=self.source,
            parts=self.text,
            dtype=self.dtype,
            device=self.device,
            encoder_device=encoder_device,
            cache=source.cache,
            names=self.answers,
            settings=self.prompting(),
        )

    def _scale(self, vae: Mapping[str, Any], repo: str) -> int:
        """Pixels of the picture a side of a latent pixel, from the VAE's configuration."""
        levels = vae.get(self.vae_levels)
        if not isinstance(levels, list) or not levels:
            raise UserError(f"{repo}: the VAE's config.json has no {self.vae_levels}: it is not of the kind needed")
        return 2 ** (len(levels) - 1)

    def find_replacement(self, source: Any) -> Callable[[], Component] | None:
        """What finds the VAE that stands in for the pipeline's own; None: that one is used."""
        return None

    @cached_property
    def pipeline(self) -> Any:
        """The diffusers pipeline with the generator, the decoder and the scheduler, frozen; loaded at its first use."""
        ready = {"vae": self.replacement.load(self.dtype)} if self.replacement else {}
        pipeline = self.source.load(self.picture, self.dtype, self.device, scheduler=self.scheduler, **ready)
        recompute(getattr(pipeline, self.denoiser), self.policies["checkpointing"])
        if not self.tiny:  # else no gradient goes through it
            decoder = pipeline.vae.decoder
            recompute(decoder, self.policies["decoder_checkpointing"], self.decoder_blocks(decoder))
        return pipeline

    @cached_property
    def tiny_vae(self) -> Any:
        """The small decoder of ``decoder=tiny``; loaded at its first use."""
        assert self.tiny
        return tiny_decoder.load(self.tiny, self.dtype, self.device, self.policies["decoder_checkpointing"])

    @property
    def network(self) -> Any:
        """The generator."""
        return getattr(self.pipeline, self.denoiser)

    @property
    def decoder(self) -> Any:
        """What decodes in the climb: the VAE without its encoder, or the small one."""
        return self.tiny_vae if self.tiny else self.pipeline.vae

    def plan(self, config: Mapping[str, Any], scheduler: Any) -> None:
        """Read the one step's constants from the scheduler; ``UserError`` where the pipeline's step is another one."""
        raise NotImplementedError

    def prompting(self) -> dict[str, Any]:
        """What ``encode_prompt`` is told besides the prompt."""
        return {}

    def decoder_blocks(self, decoder: Any) -> list[nn.Module]:
        """The blocks of ``decoder`` to compute again, if it does not know them itself."""
        return []

    def save_memory(self) -> str | None:
        """Go on under the next cheaper memory policy, for good; what it is, None where there is none."""
        for key, network in (("decoder_checkpointing", self.decoder.decoder), ("checkpointing", self.network)):
            if self.policies[key] == "none":
                self.policies[key] = "blocks"
                recompute(network, "blocks", self.decoder_blocks(network) if key == "decoder_checkpointing" else ())
                return f"{key}=blocks"
        return None

    def denoise(self, latent: Latent, condition: dict[str, Tensor]) -> Tensor:
        """The one step: the clean latent (b, channels, h, w), in the denoiser's unit and the latent's number type."""
        raise NotImplementedError

    def unscaled(self, clean: Tensor, config: Any) -> Tensor:
        """The clean latent in the unit of the VAE with this ``config``, as diffusers' own pipeline has it."""
        return clean / config.scaling_factor

    def generate(self, latent: Latent, condition: dict[str, Tensor]) -> Image:
        return self.gradient_range.through(
            lambda at: self.decode(self.denoise(at, condition), self.decoder),
            latent,
        )

    @property
    def render(self) -> Callable[[Latent, dict[str, Tensor]], Image] | None:
        """Where the climb has the small decoder: the pictures of the full one."""
        return self._render if self.tiny else None

    @torch.no_grad()
    def _render(self, latent: Latent, condition: dict[str, Tensor]) -> Image:
        return self.decode(self.denoise(latent, condition), self.pipeline.vae)

    @property
    def halvings(self) -> Tensor:
        return self.gradient_range.halvings

    def encode(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        return self.embeddings.get(prompts)

    def calling(self, latent: Latent) -> dict[str, Any]:
        """What the pipeline's own call is told besides prompts, size and steps: the latent as it takes it, guidance."""
        return {"latents": latent, "guidance_scale": 0.0}

    def published(self, latent: Latent, prompts: Sequence[str]) -> Image:
        """The pictures of diffusers' own pipeline, for a comparison; this model's networks leave memory before it."""
        self.__dict__.pop("pipeline", None)
        ready = {"vae": self.replacement.load(self.dtype)} if self.replacement else {}
        told = {"height": self.resolution, "width": self.resolution, **self.calling(latent)}
        return draw(self.source, self.dtype, self.device, prompts, told, ready).to(latent.dtype)

    def decode(self, clean: Tensor, vae: Any) -> Image:
        """The picture that ``vae`` makes of the clean latent, in the latent's number type."""
        (image,) = vae.decode(self.unscaled(clean, vae.config).to(vae.dtype), return_dict=False)
        return self.pipeline.image_processor.denormalize(image.to(clean.dtype))
