"""SD-Turbo (arXiv 2311.17042): one Euler step of a distilled Stable Diffusion 2.1, 512 px, N = 16,384."""

from collections.abc import Callable, Sequence

from diffusers import StableDiffusionPipeline
from torch import Tensor

from gradproj.pretrained import precision
from gradproj.pretrained.embeddings import PromptEmbeddings, parse_device
from gradproj.pretrained.euler import EulerStep
from gradproj.pretrained.layout import latent_side
from gradproj.pretrained.recompute import check_policies, recompute
from gradproj.pretrained.source import Source, fetch
from gradproj.types import Image, Latent, default_device

TEXT = ("tokenizer", "text_encoder")
PICTURE = ("unet", "vae", "scheduler")
NAMES = ("encoder_hidden_states", None)  # of what encode_prompt answers


class SDTurbo:
    """``Model`` on diffusers' StableDiffusionPipeline, without guidance. Latent (4, resolution / 8, resolution / 8).

    The keys are explained in configs/model/sd_turbo.yaml; what a wrong one raises is a ``UserError``.
    """

    def __init__(
        self,
        repo: str,
        revision: str,
        variant: str | None,
        resolution: int,
        dtype: str,
        checkpointing: str,
        decoder_checkpointing: str,
        text_encoder_device: str | None,
        cache: str,
        source: Callable[..., Source] = fetch,
    ) -> None:
        self.dtype, self.device = precision.parse(dtype), default_device()
        encoder_device = parse_device(text_encoder_device, self.device)
        check_policies(checkpointing=checkpointing, decoder_checkpointing=decoder_checkpointing)
        self.source = source(repo, revision, variant, StableDiffusionPipeline, TEXT + PICTURE)
        self.weights = self.source.weights
        side = latent_side(resolution, 2 ** (len(self.source.config("vae")["block_out_channels"]) - 1))
        self.pipeline = self.source.load(PICTURE, self.dtype, self.device)
        self.unet, self.vae = self.pipeline.unet, self.pipeline.vae
        recompute(self.unet, checkpointing)
        recompute(self.vae.decoder, decoder_checkpointing)
        self.euler = EulerStep.of(self.pipeline.scheduler)
        self.latent_shape = (self.unet.config.in_channels, side, side)
        where = (self.dtype, self.device, encoder_device, cache)
        settings = {"num_images_per_prompt": 1, "do_classifier_free_guidance": False}
        self.embeddings = PromptEmbeddings(self.source, TEXT, *where, NAMES, **settings)

    def encode(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        return self.embeddings.get(prompts)

    def generate(self, latent: Latent, condition: dict[str, Tensor]) -> Image:
        gradient_range = precision.GradientRange(self.dtype)
        noisy = gradient_range.enter(latent) * self.euler.start
        network_input = self.euler.network_input(noisy).to(self.dtype)
        (noise,) = self.unet(network_input, self.euler.timestep, **condition, return_dict=False)
        clean = self.euler.clean(noisy, noise.to(latent.dtype))  # x0 = x - sigma eps
        (image,) = self.vae.decode((clean / self.vae.config.scaling_factor).to(self.dtype), return_dict=False)
        return self.pipeline.image_processor.denormalize(gradient_range.leave(image.to(latent.dtype)))
