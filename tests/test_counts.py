"""What an iteration and an image cost, counted exactly: none of it grows unnoticed, and a change here is on purpose.

The numbers are of small networks on a processor, with the pinned versions of the libraries. How often the host waits
for the device is in test_synchronisations.py, the published sizes are in test_full_size.py.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from test_command_line import environment
from tiny import models as tiny
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gradproj.execution.experiment import Experiment
from gradproj.methods.ours import method
from gradproj.models.shapes import Shapes
from gradproj.rewards.shapes_aesthetic import ShapesAesthetic
from gradproj.runs.naming import ImageId

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers and numpy
ITERATION = {  # model -> FLOP of a picture's iteration; bytes that the forward pass of one and of two leaves
    "shapes": (392_567_040, 3_782_624, 7_565_248),
    "sd_turbo-plain": (43_144_704, 912_320, 1_824_640),
    "sdxl_turbo-plain": (44_331_008, 1_063_808, 2_127_616),
    "flux-plain": (47_830_592, 1_115_296, 2_208_832),
    "sana_sprint-plain": (49_337_600, 1_148_384, 2_345_920),
}
FILES = {"csv": 7, "png": 4}  # how often a file is opened for an image, or looked for, by the end of its name
RUN = """
import json, sys
from collections import Counter

seeds, folder = sys.argv[1:]
found = Counter()

def see(event, arguments):
    words = str(arguments[0]).rpartition("/images/")[2].split(".") if event == "open" else ()
    found.update(word for word in words[1:] if word in ("csv", "png", "failed", "note", "safetensors", "json", "yaml"))

sys.addaudithook(see)
from gradproj.cli import main
code = main(["run", "prompts=[a red ring]", f"seeds={seeds}", "steps=1", "batch=1", f"results={folder}"])
print(json.dumps([code, found]))
"""
ENCODERS = {"CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel", "Gemma2Model"}


def experiment(name: str) -> Experiment:
    model: Any = Shapes() if name == "shapes" else tiny.build(name, checkpointing="none", decoder_checkpointing="none")
    real = model.generate
    model.generate = lambda latent, condition: real(1 * latent, condition)  # torch's counter fails on a leaf
    block = 16 if torch.Size(model.latent_shape).numel() % 32 == 0 else 4
    ours = method(lambda latents: torch.optim.Adam(latents, lr=0.02), 0.03, block, True, True)
    return Experiment(model, ours, {"a": ShapesAesthetic()}, {"a": 1.0}, ["a red ring"], 9, "last", 9, 9)


@pytest.mark.parametrize("name", ITERATION)
@pytest.mark.parametrize("batch", [1, 2])
def test_an_iteration_has_the_work_and_the_bytes_of_picture_reward_and_gradient(name: str, batch: int) -> None:
    """The loop adds no matrix product; a batch costs what its pictures cost."""
    made, images = experiment(name), [ImageId(0, seed) for seed in range(batch)]
    next(made.iterate(images, 1))  # networks are loaded
    with FlopCounterMode(display=False) as work:
        next(made.iterate(images, 1))
    flop, *bytes_of = ITERATION[name]
    assert work.get_total_flops() == batch * flop

    parts = [made.model, made.rewards["a"]]
    networks = [getattr(part, key, None) for part in parts for key in ("network", "decoder")]
    known = {
        one.untyped_storage()._cdata
        for network in networks
        if isinstance(network, nn.Module)
        for one in network.parameters()
    }
    kept: dict[int, int] = {}

    def pack(one: Tensor) -> Tensor:
        storage = one.untyped_storage()
        if storage._cdata not in known:
            kept[storage._cdata] = storage.nbytes()
        return one

    condition = made.model.encode([*made.prompts] * batch)
    latent = torch.randn(batch, *made.model.latent_shape).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one):
        value = made.rewards["a"](made.model.generate(latent, condition), None)
    assert value.requires_grad and sum(kept.values()) == bytes_of[batch - 1]


@pytest.mark.parametrize("case", tiny.PLAIN)
def test_each_text_encoder_reads_a_prompt_once_and_never_again(case: str, tmp_path: Path) -> None:
    calls: Counter[tuple[str, int]] = Counter()
    for expected in (2, 0):  # two prompts; then the cache has them
        model = tiny.build(case, cache=str(tmp_path))
        calls.clear()
        hook = nn.modules.module.register_module_forward_hook(
            lambda module, *_: calls.update([(type(module).__name__, id(module))])
        )
        try:
            for prompts in (["a red ring", "a dog"], ["a dog"], ["a red ring", "a red ring"]):
                model.encode(prompts)
        finally:
            hook.remove()
        encoders = {which: count for which, count in calls.items() if which[0] in ENCODERS}
        assert set(encoders.values()) == ({expected} if expected else set()), encoders
        assert bool(encoders) == bool(expected)


def test_an_image_opens_no_file_more_than_it_needs(tmp_path: Path) -> None:
    """Of runs of two and of five images, the difference."""
    found = []
    for images in (2, 5):
        arguments = [sys.executable, "-c", RUN, str(images), str(tmp_path / str(images))]
        done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, check=True)
        code, opened = json.loads(done.stdout.splitlines()[-1])
        assert code == 0, done.stderr
        found.append(Counter(opened))
    more = found[1] - found[0]
    assert {name: count / 3 for name, count in more.items()} == FILES
