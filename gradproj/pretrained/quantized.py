"""Linear layers whose weights are stored in 8 or 4 bits a number, through which a gradient passes as through others.

The formats are bitsandbytes': ``int8`` has a scale a row, ``nf4`` (QLoRA, arXiv 2305.14314) one for 64 numbers. A layer
makes its weight anew in the number type of the rest for each of its products, forwards and backwards, and keeps none.
"""

from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from math import prod
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradproj.errors import UserError

Quantization = Literal["none", "int8", "nf4"]
BLOCK = 64  # numbers of nf4 with one scale
WIDE = ("bfloat16", "float32")  # number types of the rest: float16's range does not do, float64 would gain nothing


def check_quantization(quantization: Quantization, dtype: str) -> None:
    """``UserError`` where this cannot be: the package is not installed, or the number type of the rest is another."""
    if quantization == "none":
        return
    if dtype not in WIDE:
        raise UserError(f"model.quantization={quantization} needs model.dtype=bfloat16 or float32, got {dtype}")
    if find_spec("bitsandbytes") is None:
        raise UserError(f"model.quantization={quantization} needs bitsandbytes: type pip install 'gradproj[quantized]'")


def quantize(network: nn.Module, quantization: Quantization, device: torch.device) -> None:
    """Store the weights of the linear layers in ``network``'s blocks as ``quantization``, in place and on ``device``.

    One layer at a time is there in full. What is not in a block (the first and last layers, the embeddings) stays.
    """
    if quantization == "none":
        return
    for name, linear in list(linear_layers(network)):
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, QuantizedLinear(linear, quantization, device))


def linear_layers(network: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Name and module of the linear layers in the blocks of ``network``: those in a list of modules."""
    for name, module in network.named_modules():
        if type(module) is nn.Linear and any(part.isdigit() for part in name.split(".")):
            yield name, module


def stored_bytes(shapes: Iterable[tuple[str, Sequence[int]]], quantization: Quantization, itemsize: int) -> int:
    """Bytes of a network's weights after ``quantize``, from their names and shapes in a file or on the meta device.

    ``itemsize``: bytes of a number that is not quantized.
    """
    total = 0
    for name, shape in shapes:
        count = prod(shape)
        if quantization == "none" or not _is_quantized(name, shape):
            total += itemsize * count
        elif quantization == "int8":
            total += count + 4 * shape[0]
        else:
            total += -(-count // 2) + 4 * -(-count // BLOCK)
    return total


def _is_quantized(name: str, shape: Sequence[int]) -> bool:
    """Whether the weight ``name`` is a linear layer's in a block; T5's table of positions is called ..._bias.weight."""
    inside = any(part.isdigit() for part in name.split("."))
    return inside and len(shape) == 2 and name.endswith(".weight") and not name.endswith("bias.weight")


class QuantizedLinear(nn.Module):
    """``linear`` with its weight in the format ``kind`` and its bias as it was, frozen, on ``device``."""

    codes: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear, kind: Quantization, device: torch.device) -> None:
        from bitsandbytes import functional

        super().__init__()
        self.kind, self.shape, self.dtype = kind, linear.weight.shape, linear.weight.dtype
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().to(device)
        if kind == "int8":
            codes, scale, _ = functional.int8_vectorwise_quant(weight.to(torch.float16))
        else:
            codes, state = functional.quantize_4bit(weight, blocksize=BLOCK, quant_type=kind)
            scale = state.absmax
        self.register_buffer("codes", codes)
        self.register_buffer("scale", scale)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().to(device), requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The weight in full, (out, in) in the number type that it had; made at every call."""
        from bitsandbytes import functional

        if self.kind == "int8":
            return functional.int8_vectorwise_dequant(self.codes, self.scale).to(self.dtype)
        state = functional.QuantState(
            absmax=self.scale, shape=self.shape, dtype=self.dtype, blocksize=BLOCK, quant_type=self.kind
        )
        return functional.dequantize_4bit(self.codes, state)

    def forward(self, given: Tensor) -> Tensor:
        return _Product.apply(given, self)  # type: ignore[return-value]


class _Product(torch.autograd.Function):
    """A linear layer that keeps nothing for its backward pass: its gradient needs the weight alone."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, layer: QuantizedLinear) -> Tensor:
        ctx.layer = layer
        return F.linear(given, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] @ ctx.layer.weight, None
