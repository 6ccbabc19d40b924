"""Turns what was counted and measured into rows and Markdown tables."""

from collections.abc import Sequence
from typing import Any

import torch

from gradproj.rewards.shapes_aesthetic import ShapesAesthetic

from . import page
from .build import Size, condition, model, parameters
from .count import count
from .measure import measure

GIB, TERA = 2**30, 10**12
META = torch.device("meta")
Row = dict[str, Any]


def counted(size: Size, checkpointing: str, decoder_checkpointing: str, **changes: Any) -> Row:
    """FLOPs and bytes of one model under one pair of policies, counted for a batch of 1.

    With ``decoder="tiny"`` the decoder's columns are of the small one. The full one is in memory, too, and draws
    pictures to score between iterations: ``weights_bytes`` and ``peak_bytes`` have it.
    """
    policies = {"checkpointing": checkpointing, "decoder_checkpointing": decoder_checkpointing}
    made = model(size, META, **policies, **changes)
    generator, decoder = made.network, made.decoder
    loaded = {id(network): network for network in (generator, decoder, made.pipeline.vae)}.values()
    weights_bytes = sum(one.numel() * one.element_size() for network in loaded for one in network.parameters())
    work = count(made, condition(size, made), torch.randn(1, *made.latent_shape, device=META))
    peak = max(work.peak, work.drawn)
    return {
        "model": size.name,
        "decoder": changes.get("decoder", "full"),
        **policies,
        "dtype": str(made.dtype).removeprefix("torch."),
        "latent_entries": torch.Size(made.latent_shape).numel(),
        "generator_parameters": parameters(generator),
        "decoder_parameters": parameters(decoder),
        "autoencoder_parameters": made.source.whole["vae"],
        "generator_forward_flop": work.generator.forward,
        "generator_backward_flop": work.generator.backward,
        "decoder_forward_flop": work.decoder.forward,
        "decoder_backward_flop": work.decoder.backward,
        "generator_kept_bytes": work.generator.kept,
        "decoder_kept_bytes": work.decoder.kept,
        "peak_bytes": peak,
        "weights_bytes": weights_bytes,
        "memory_bytes": weights_bytes + peak,
    }


def networks_table(rows: Sequence[Row]) -> str:
    """A line for each model, with no checkpointing."""
    without = [row for row in rows if row["checkpointing"] == row["decoder_checkpointing"] == "none"]
    shown = [
        {
            "model": _named(row),
            "N": f"{row['latent_entries']:,}",
            "type": row["dtype"],
            "generator, parameters": f"{row['generator_parameters']:,}",
            "decoder, parameters": f"{row['decoder_parameters']:,}",
            "weights GiB": f"{row['weights_bytes'] / GIB:.2f}",
            "generator TFLOP": _both(row, "generator"),
            "decoder TFLOP": _both(row, "decoder"),
            "decoder's share": f"{1 - _flop(row, 'generator') / (_flop(row, 'generator') + _flop(row, 'decoder')):.0%}",
        }
        for row in without
    ]
    return page.table(shown)


def policies_table(rows: Sequence[Row]) -> str:
    """A line for each model and pair of policies."""
    shown = [
        {
            "model": _named(row),
            "checkpointing": row["checkpointing"],
            "decoder_checkpointing": row["decoder_checkpointing"],
            "TFLOP": f"{(_flop(row, 'generator') + _flop(row, 'decoder')) / TERA:.1f}",
            "generator keeps GiB": f"{row['generator_kept_bytes'] / GIB:.2f}",
            "decoder keeps GiB": f"{row['decoder_kept_bytes'] / GIB:.2f}",
            "activations at most GiB": f"{row['peak_bytes'] / GIB:.2f}",
            "weights GiB": f"{row['weights_bytes'] / GIB:.2f}",
            "GPU memory, at least GiB": f"{row['memory_bytes'] / GIB:.2f}",
        }
        for row in rows
    ]
    return page.table(shown)


def published_table(sizes: Sequence[Size], rows: Sequence[Row]) -> str:
    """The number of parameters of what was built, and the number in print."""
    found = {(row["model"], row["decoder"]): row for row in rows}
    shown = []
    for size in sizes:
        for what, (number, said) in size.published.items():
            built = found[size.name, "full"].get(f"{what}_parameters") or found[size.name, what]["decoder_parameters"]
            shown.append({"model": size.name, "network": what, "built": f"{built:,}", "in print": said})
            shown[-1]["difference"] = f"{built / number - 1:+.2%}"
    return page.table(shown)


def _named(row: Row) -> str:
    return row["model"] + ("" if row["decoder"] == "full" else f", decoder={row['decoder']}")


def _flop(row: Row, part: str) -> int:
    return row[f"{part}_forward_flop"] + row[f"{part}_backward_flop"]


def _both(row: Row, part: str) -> str:
    forward, backward = (row[f"{part}_{way}_flop"] / TERA for way in ("forward", "backward"))
    return f"{forward:.2f} + {backward:.2f} = {forward + backward:.2f}"


def measured(size: Size, device: torch.device, policy: str, rounds: int, warm: int, **changes: Any) -> Row:
    """One model under one policy for both networks, with random weights on ``device``."""
    torch.manual_seed(0)
    policies = {"checkpointing": policy, "decoder_checkpointing": policy}
    made, reward = model(size, device, **policies, **changes), ShapesAesthetic()
    reward.device = device  # its network comes at its first use
    result = measure(made, reward, condition(size, made), rounds, warm)
    return {
        "model": size.name,
        "checkpointing": policy,
        "dtype": str(made.dtype).removeprefix("torch."),
        "iteration_seconds": result.iteration,
        "forward_seconds": result.forward,
        "projection_seconds": result.projection,
        "peak_bytes": result.peak,
        "all_finite": result.finite,
    }


def measured_table(rows: Sequence[Row]) -> str:
    shown = [
        {
            "model": row["model"],
            "type": row["dtype"],
            "checkpointing, both": row["checkpointing"],
            "s/iteration": f"{row['iteration_seconds']:.3f}",
            "of it forward": f"{row['forward_seconds']:.3f}",
            "projection ms": f"{1000 * row['projection_seconds']:.2f}",
            "projection's share": f"{row['projection_seconds'] / row['iteration_seconds']:.3%}",
            "peak GiB": f"{row['peak_bytes'] / GIB:.2f}",
            "all finite": "yes" if row["all_finite"] else "no",
        }
        for row in rows
    ]
    return page.table(shown)
