"""Has the meta device use the kernels of a GPU, because PyTorch otherwise counts others there, which keep far more.

Without this, attention keeps its whole matrix in float32, and an RMS norm keeps two float32 copies of its input. The
kernels are those that PyTorch itself chooses on NVIDIA GPUs: the fused RMS norm, flash attention for half precision
without a mask and with heads of at most 256, and otherwise memory-efficient attention. The attention of cuDNN, which
newer GPUs prefer to flash, keeps the same.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

WIDEST_FLASH_HEAD = 256
HALF = (torch.float16, torch.bfloat16)


@contextmanager
def gpu_kernels() -> Iterator[None]:
    """Inside this context the GPU's kernels are used.

    They are patched in, because a function mode would miss what checkpointing computes again in the backward pass.
    """
    ours = {"scaled_dot_product_attention": attention, "rms_norm": rms_norm}
    with ExitStack() as stack:
        for name, stand_in in ours.items():
            stack.enter_context(patch.object(F, name, stand_in))
        yield


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if enable_gqa or dropout_p:
        raise NotImplementedError("grouped queries and dropout are in none of the counted models")
    operators = torch.ops.aten
    if attn_mask is None and query.dtype in HALF and query.shape[-1] <= WIDEST_FLASH_HEAD:
        return operators._scaled_dot_product_flash_attention(query, key, value, 0.0, is_causal, scale=scale)[0]
    if attn_mask is not None:
        attn_mask = attn_mask.to(query.dtype).expand(*query.shape[:-1], key.shape[-2])
    return operators._scaled_dot_product_efficient_attention(
        query, key, value, attn_mask, compute_log_sumexp=True, is_causal=is_causal, scale=scale
    )[0]


def rms_norm(
    input: Tensor, normalized_shape: list[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    return _FusedRmsNorm.apply(input, len(normalized_shape))  # type: ignore[return-value]


class _FusedRmsNorm(torch.autograd.Function):
    """Keeps its input and a float32 for each row, as aten::_fused_rms_norm does; a frozen weight costs nothing."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, axes: int) -> Tensor:
        ctx.save_for_backward(input, input.new_empty(input.shape[:-axes], dtype=torch.float32))
        return torch.empty_like(input)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return torch.empty_like(ctx.saved_tensors[0]), None
