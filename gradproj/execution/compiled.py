"""``compile=true``: torch.compile on the blocks that networks repeat, forward and backward, warmed up before the work.

Blocks of one kind share a graph per shape. What has a shape that was not warmed up, such as a single picture of a batch
that is scored once more, runs as without it: nothing is compiled while the clock runs.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradproj.execution.experiment import Experiment
from gradproj.pretrained.release import release
from gradproj.runs.naming import ImageId

CACHE = "TORCHINDUCTOR_CACHE_DIR"
ADVICE = " Set TORCHDYNAMO_VERBOSE"  # where torch begins to tell its own developers what to do
SHOWN = 300  # letters of a reason on the screen; env.json has it whole
GRAPHS = 512  # of one function at the most: every shape, with gradient and without, is one of its own
BLOCKS = {  # beside those that a network of diffusers calls its repeated blocks
    *("ResnetBlock2D", "ResBlock", "EfficientViTBlock", "AutoencoderTinyBlock", "SanaTransformerBlock"),  # diffusers
    *("CLIPEncoderLayer", "BlipEncoderLayer", "BlipTextLayer"),  # transformers
    "ResidualAttentionBlock",  # open_clip
    *("Transformer", "Residual"),  # the miniature
}


def warm_up(experiment: Experiment, batches: Iterable[int]) -> dict[str, Any]:
    """Compile the parts of ``experiment`` for ``batches``; answers the facts for env.json, and prints them.

    One iteration with scores is made of each batch, as a run without it has just done (``rehearse``). Where compiling
    fails, everything runs as without it, and ``failed`` in the facts says why.
    """
    folder = _keep_code()
    blocks, began, failed = list(_blocks(experiment)), time.perf_counter(), None
    for block in blocks:
        block.compile(fullgraph=True, dynamic=False)
    trial = replace(experiment, steps=1, profile=None)
    try:
        with torch._dynamo.config.patch(recompile_limit=GRAPHS, accumulated_recompile_limit=GRAPHS):
            for batch in sorted(set(batches)):
                images = [ImageId(0, seed) for seed in range(batch)]
                trial.follow(images, trial.iterate(images, 1))
    except Exception as error:  # a compiler may raise anything
        _undo(blocks)
        failed = f"{type(error).__name__}: {' '.join(str(error).split())}".partition(ADVICE)[0]
    release()
    seconds = round(time.perf_counter() - began, 3)
    said = f"compile: {len(blocks)} blocks, warmed up in {seconds:.1f} s"
    print(f"compile: left out, all runs as without it: {failed[:SHOWN]}" if failed else said, flush=True)
    return {"blocks": len(blocks), "warm_up_seconds": seconds, "cache": folder, "failed": failed}


@contextmanager
def warmed_up(experiment: Experiment, facts: Mapping[str, Any] | None) -> Iterator[None]:
    """Within the block nothing more is compiled; behind it the parts are as before. None: nothing was warmed up."""
    if not facts or facts["failed"]:
        yield
        return
    try:
        with torch.compiler.set_stance("eager_on_recompile"):
            yield
    finally:
        _undo(_blocks(experiment))


def _blocks(experiment: Experiment) -> Iterator[nn.Module]:
    """Those of the generator, of the decoder and of the rewards that are on the same device."""
    parts = [experiment.model, *experiment.rewards.values()]
    here = [part for part in parts if getattr(part, "device", None) == experiment.model.device]
    for network in (getattr(part, name, None) for part in here for name in ("network", "decoder")):
        if isinstance(network, nn.Module):
            names = BLOCKS.union(getattr(network, "_repeated_blocks", None) or ())
            yield from (module for module in network.modules() if type(module).__name__ in names)


def _undo(blocks: Iterable[nn.Module]) -> None:
    for block in blocks:
        block._compiled_call_impl = None


def _keep_code() -> str:
    """The folder in which compiled code is kept for later processes; one that a person set stays."""
    from torch._inductor.runtime.runtime_utils import default_cache_dir

    if os.environ.get(CACHE) in (None, default_cache_dir()):  # which torch sets when it is imported, under /tmp
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        os.environ[CACHE] = str(home / "gradproj" / "compiled")
    return os.environ[CACHE]
