"""Makes the pages under results/full_size: where and when something was done, what it was, and the tables."""

from collections.abc import Sequence

import torch

from .build import Size
from .page import where
from .table import Row, networks_table, policies_table, published_table

TITLES = {
    "table": "Full size, counted",
    "cpu": "Full size, one iteration on the processor",
}
WHAT = {
    "table": """\
Counted on PyTorch's meta device (shapes and types, no numbers, no weights) through the model classes' own `generate`:
one picture forwards, and the gradient of the picture with respect to the latent alone; batch 1; dtype, resolution and
text length of `configs/model/`. With `decoder=tiny` the decoder is the small one, while the full one is in memory, too,
and draws what is scored. Reward, text encoders and the method's projections are not in it. **No figure here was
measured on a GPU**: none was at hand. `make bench-gpu` measures where there is one.
""",
    "cpu": """\
`scripts/full_size.py --device cpu`: SD-Turbo at its real size in float32 with random weights, 512 px, through
`gradproj.optimize.optimize` with method ours and the miniature's aesthetic reward: one iteration, that is forward,
reward, backward, both projections, update. *Forward* ends with the reward; *projection* is that of the gradient and the
latent together, timed alone; *peak* is what the whole process had in memory at most, Python and libraries included.
A load above the number of cores means that other work ran beside it: the seconds are then upper bounds.
""",
}
READING = """\
*Keeps*: bytes that the forward pass leaves for the backward pass, each storage once, weights not counted. *At most*:
most bytes alive at any moment of the two passes, what is computed again and short-lived results included. *GPU memory,
at least*: the weights of generator and decoder, and that; on a card come the CUDA context, the kernels' workspaces, the
allocator's gaps, the reward, and the text encoders until the prompts are encoded. A multiply-add is two FLOPs; only
matrix products, convolutions and attention are counted.

The meta device takes other kernels than a GPU: attention that keeps its matrix in float32, and an RMS norm that keeps
two float32 copies of its input. They are replaced by what PyTorch takes on an NVIDIA GPU: flash attention, or where
there is a mask or a head wider than 256 memory-efficient attention, and the fused RMS norm. These keep their inputs, a
number or two a row and, in attention, the result. Where a torch has no fused RMS norm yet, FLUX keeps 0.83 GiB more.

`blocks` costs one more forward pass. `full` costs two, because the blocks inside are computed again twice; over
`blocks` it saves what `blocks` keeps of the generator (0.06 to 0.43 GiB), and of the decoder nothing at the peak, which
is inside one of the decoder's blocks."""


def counts(sizes: Sequence[Size], rows: Sequence[Row]) -> str:
    """The tables of what was counted, in Markdown."""
    sources = [f"- **{size.name}**\n" + "\n".join(f"  - {source}" for source in size.sources) for size in sizes]
    return "\n\n".join(
        [
            "## One iteration, nothing computed again (forward + backward)",
            networks_table(rows),
            "## Memory and work under each policy",
            policies_table(rows),
            READING,
            "## The networks that were built",
            published_table(sizes, rows),
            "Where the configurations (`scripts/counting/sizes/`) were read:",
            "\n".join(sources),
        ]
    )


def page(name: str, device: torch.device, text: str) -> str:
    """A whole page in Markdown: where and when ``text`` came about, and the text."""
    return f"# {TITLES[name]}\n\n{where(device)}\n\n{WHAT[name]}\n{text}\n"
