"""``compile=true``: torch.compile on the blocks that networks repeat, forward and backward, warmed up before the work.

Blocks of one kind share a graph per shape. What has a shape that was not warmed up, such as a single picture of a batch
that is scored once more, runs as without it: nothing is compiled while the clock runs.
"""

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradproj.execution import scheduler
from gradproj.execution.experiment import Experiment
from gradproj.pretrained.release import release
from gradproj.runs.naming import ImageId

CACHE = "TORCHINDUCTOR_CACHE_DIR"
ADVICE = " Set TORCHDYNAMO_VERBOSE"  # where torch begins to tell its own developers what to do
SHOWN = 300  # letters of a reason on the screen; env.json has it whole
GRAPHS = 512  # of one function at the most: every shape, with gradient and without, is one of its own
BLOCKS: Mapping[str, set[str]] = {  # by library, beside those that a network calls its repeated blocks as diffusers' do
    "diffusers": {"ResnetBlock2D", "ResBlock", "EfficientViTBlock", "AutoencoderTinyBlock", "SanaTransformerBlock"},
    "transformers": {"CLIPEncoderLayer", "BlipEncoderLayer", "BlipTextLayer"},
    "open_clip": {"ResidualAttentionBlock"},
    "gradproj": {"Transformer", "Residual"},  # the miniature's; open_clip calls a whole tower a Transformer
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
    except BaseException as error:  # a compiler may raise anything
        _undo(blocks)
        if not isinstance(error, Exception) or isinstance(error, scheduler.interruptions()):
            raise
        failed = f"{type(error).__name__}: {' '.join(str(error).split())}".partition(ADVICE)[0]
    release()
    seconds = round(time.perf_counter() - began, 3)
    said = f"compile: {len(blocks)} blocks, warmed up in {seconds:.1f} s"
    print(f"compile: left out, all runs as without it: {failed[:SHOWN]}" if failed else said, flush=True)
    return {"blocks": len(blocks), "warm_up_seconds": seconds, "cache": folder, "failed": failed}


def works(facts: Mapping[str, Any] | None) -> bool:
    """Whether what ``warm_up`` answered is of compiled blocks; None: there was no warm-up."""
    return facts is not None and facts["failed"] is None


@contextmanager
def warmed_up(experiment: Experiment, facts: Mapping[str, Any] | None) -> Iterator[None]:
    """Within the block nothing more is compiled; behind it the parts are as before."""
    if not works(facts):
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
            repeated = getattr(network, "_repeated_blocks", None) or ()
            yield from (module for module in network.modules() if _is_block(type(module), repeated))


def _is_block(kind: type[nn.Module], repeated: Collection[str]) -> bool:
    library = kind.__module__.partition(".")[0]
    return kind.__name__ in repeated or kind.__name__ in BLOCKS.get(library, ())


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
