"""Memory that networks have left is given back to the device, so that what comes next finds it free."""

import gc

import torch


def release() -> None:
    """To be called when nothing refers to a large network any more."""
    gc.collect()  # networks may refer to themselves
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
