"""Activation policies: what a frozen network keeps for its backward pass, and what it computes again.

``none`` keeps every activation. ``blocks`` keeps the input of each block and runs the block again when its gradient is
due (activation checkpointing). ``full`` also keeps nothing but the input of the whole network while others run.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, Literal, get_args

from torch import nn
from torch.utils.checkpoint import checkpoint

Policy = Literal["none", "blocks", "full"]
POLICIES: tuple[Policy, ...] = get_args(Policy)


def recompute(network: nn.Module, policy: Policy, blocks: Iterable[nn.Module] = ()) -> None:
    """Give ``network`` its activation policy, in place. ``blocks`` are for a network that does not know its own.

    diffusers' networks know theirs and honour this in eval mode; its DC-AE decoder does not.
    """
    if policy == "none":
        return
    known = [module for module in network.modules() if hasattr(module, "gradient_checkpointing")]
    for module in known:
        module.__dict__.update(gradient_checkpointing=True, _gradient_checkpointing_func=again)
    for block in blocks:
        block.forward = partial(again, block.forward)
    if policy == "full":
        network.forward = partial(again, network.forward)


def again(function: Any, *arguments: Any, **named: Any) -> Any:
    """``function(...)``, run once more in the backward pass instead of kept; no dropout, so no random state to save."""
    return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False, **named)
