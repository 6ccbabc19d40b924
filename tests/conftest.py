"""What several test modules share: composed configs, a generator per sample, and one thread per process.

The suite runs in as many processes as there are cores, and the commands it starts are more: threads beside them would
only wait for each other.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import DictConfig

CONFIGS = Path(__file__).parents[1] / "configs"
Compose = Callable[..., DictConfig]

os.environ["OMP_NUM_THREADS"] = "1"  # for the commands that tests start
torch.set_num_threads(1)


@pytest.fixture
def compose() -> Compose:
    """``compose("method=ours", ...)``: what gradproj-run would be given by these overrides."""

    def one(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return hydra_compose("config", list(overrides))

    return one


@pytest.fixture
def generators() -> Callable[[int], list[torch.Generator]]:
    """``generators(b)``: b generators, the i-th always in the same state."""
    return lambda count: [torch.Generator().manual_seed(1000 + index) for index in range(count)]
