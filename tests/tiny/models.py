"""The published models on tiny pipelines with random weights.

``CASES`` names some of them; ``folder`` and ``model`` make each once per test run, ``build`` a new model at each call.
"""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from conftest import CONFIGS
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from gradproj.execution.settings.parts import make

from .flow import flux, sana_sprint
from .rewards import changed
from .turbo import sd_turbo, sdxl_turbo

BUILDERS = {"sd_turbo": sd_turbo, "sdxl_turbo": sdxl_turbo, "flux": flux, "sana_sprint": sana_sprint}
SIZES = {"sd_turbo": (16, 32), "sdxl_turbo": (16, 32), "flux": (16, 32), "sana_sprint": (32, 64)}  # pixels a side
VARIATIONS: dict[str, dict[str, dict[str, Any]]] = {
    "sd_turbo": {
        "plain": {},
        "deep": {"seed": 1, "blocks": 3, "heads": 4, "channels": (4, 4, 8), "scaling_factor": 0.3},
        "short": {"seed": 2, "width": 12, "heads": 3, "text_width": 12, "text_length": 20, "channels": (8,)},
    },
    "sdxl_turbo": {
        "plain": {},
        "deep": {"seed": 1, "blocks": 3, "heads": 4, "channels": (4, 4, 8), "scaling_factor": 0.2},
        "short": {"seed": 2, "width": 12, "heads": 3, "text_widths": (12, 8), "text_length": 20, "channels": (8,)},
        "upcast": {"seed": 3, "force_upcast": True},
    },
    "flux": {
        "plain": {},
        "deep": {"seed": 1, "double": 2, "single": 3, "channels": (4, 4, 8), "shift_factor": -0.5},
        "wide": {
            "seed": 2,
            "rope": (4, 6, 6),
            "heads": 3,
            "text_width": 12,
            "latent_channels": 8,
            "scaling_factor": 0.9,
        },
    },
    "sana_sprint": {
        "plain": {},
        "deep": {"seed": 1, "layers": 3, "channels": (8, 8, 16, 32), "scaling_factor": 0.8},
        "wide": {"seed": 2, "heads": 3, "head_width": 16, "text_width": 12, "guidance_embeds_scale": 0.3},
    },
}
CASES = {f"{name}-{variation}": name for name, variations in VARIATIONS.items() for variation in variations}
PLAIN = [f"{name}-plain" for name in BUILDERS]


@cache
def home() -> tempfile.TemporaryDirectory[str]:
    """Where the pipelines and the prompt embeddings of this test run are; removed at its end."""
    return tempfile.TemporaryDirectory()


@cache
def folder(case: str) -> Path:
    """The saved pipeline of one of ``CASES``."""
    name, variation = case.split("-")
    return BUILDERS[name](Path(home().name) / case, **VARIATIONS[name][variation])


@cache
def composed(name: str) -> DictConfig:
    """What ``gradproj-run model=name`` is given to make the model of."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("config", [f"model={name}"]).model


def build(case: str, **settings: Any) -> Any:
    """The model that ``gradproj-run model=... model.key=value`` would make: float32, the smaller size, if not told."""
    told = {"repo": folder(case), "resolution": SIZES[CASES[case]][0], "dtype": "float32"}
    told |= {"cache": f"{home().name}/prompts"} | settings
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in told.items()}
    node: Any = OmegaConf.to_container(composed(CASES[case]), resolve=True)
    return make(changed(node, plain), "model")


model = cache(build)


def random_latent(model: Any, batch: int, seed: int = 0) -> torch.Tensor:
    """N(0, 1), float32, on the model's device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, *model.latent_shape, generator=generator).to(model.device)
