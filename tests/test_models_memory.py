"""What the published models keep in memory and on disk: activations, weights, prompt embeddings; on tiny weights."""

import gc
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file
from tiny import models as tiny
from torch import Tensor, nn
from transformers import PreTrainedModel

POLICIES = ("none", "blocks", "full")
BOTH = [f"{generator}-{decoder}" for generator, decoder in product(POLICIES, POLICIES)]
PROMPTS = ["a red ring", "a blue square"]


def networks(model: Any) -> dict[str, nn.Module]:
    return {"generator": model.network, "decoder": model.decoder.decoder}


@cache
class Watch:
    """One forward and backward pass under a policy: the gradient, the bytes kept in between, how often each layer ran.

    Layers without parts of their own are counted: nothing wraps their forward, so their hooks see every call.
    """

    def __init__(self, case: str, both: str) -> None:
        generator, decoder = both.split("-")
        self.model = model = tiny.model(case, checkpointing=generator, decoder_checkpointing=decoder)
        self.kept, self.calls = 0, {name: Counter[str]() for name in networks(model)}
        latent, condition = tiny.random_latent(model, 2).requires_grad_(), model.encode(PROMPTS)
        hooks = list(self._count(model))
        weights = {one.data_ptr() for part in networks(model).values() for one in part.parameters()}
        seen: dict[int, Tensor] = {}

        def pack(tensor: Tensor) -> Tensor:
            if tensor.data_ptr() not in weights:
                seen[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            image = model.generate(latent, condition)
        self.kept = sum(one.untyped_storage().nbytes() for one in seen.values())
        image.square().sum().backward()
        for hook in hooks:
            hook.remove()
        assert latent.grad is not None
        self.gradient = latent.grad

    def _count(self, model: Any) -> Iterator[Any]:
        for name, network in networks(model).items():
            for path, layer in network.named_modules():
                if not list(layer.children()) and list(layer.parameters()):
                    yield layer.register_forward_pre_hook(lambda *_, of=self.calls[name], path=path: of.update([path]))


# Activations


@pytest.mark.parametrize("case", tiny.PLAIN)
def test_no_policy_changes_a_bit_of_the_gradient(case: str):
    expected = Watch(case, "none-none").gradient
    assert float(expected.abs().max()) > 0
    for both in BOTH:
        gradient = Watch(case, both).gradient
        assert torch.equal(gradient, expected) or expected.is_cuda, both
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)  # a GPU's sums have no fixed order


@pytest.mark.parametrize("part", ["generator", "decoder"])
@pytest.mark.parametrize("case", tiny.PLAIN)
def test_a_part_runs_again_as_its_own_policy_says_and_the_other_does_not(case: str, part: str):
    other = {"generator": "decoder", "decoder": "generator"}[part]
    seen = {}
    for policy in POLICIES:
        watch = Watch(case, f"{policy}-none" if part == "generator" else f"none-{policy}")
        seen[policy] = watch.calls[part]
        assert set(watch.calls[other].values()) == {1}
    assert set(seen["none"].values()) == {1}
    assert all(seen[policy].keys() == seen["none"].keys() for policy in POLICIES)
    first = next(iter(seen["none"]))  # the layer that takes the input is in no block
    again = sum(calls > 1 for calls in seen["blocks"].values())
    assert again > 0.5 * len(seen["blocks"])
    assert seen["blocks"][first] == 1
    assert seen["full"][first] == 2
    assert all(seen["full"][layer] >= seen["blocks"][layer] for layer in seen["none"])


@pytest.mark.parametrize("case", tiny.PLAIN)
def test_a_stronger_policy_keeps_less_for_the_backward_pass(case: str):
    kept = {both: Watch(case, both).kept for both in BOTH}
    for one in POLICIES:
        assert kept[f"none-{one}"] > kept[f"blocks-{one}"] > kept[f"full-{one}"]
        assert kept[f"{one}-none"] > kept[f"{one}-blocks"] > kept[f"{one}-full"]
    assert kept["full-full"] < 0.2 * kept["none-none"]


# Weights


@pytest.mark.parametrize("both", ["none-none", "full-full"])
@pytest.mark.parametrize("case", tiny.PLAIN)
def test_parameters_are_frozen_and_get_no_gradient(case: str, both: str):
    model = Watch(case, both).model
    for network in (*networks(model).values(), model.decoder):
        assert not any(module.training for module in network.modules())
        assert not [one for one in network.parameters() if one.requires_grad or one.grad is not None]


@pytest.fixture
def new_modules() -> Iterator[Callable[[], Counter[str]]]:
    """The kinds of the network modules that were made since and are still there."""

    def count() -> Counter[str]:
        gc.collect()
        return Counter(type(one).__name__ for one in gc.get_objects() if issubclass(type(one), nn.Module))

    gc.freeze()  # what is there already is not among gc.get_objects()
    yield count
    gc.unfreeze()


@pytest.mark.parametrize("case", tiny.PLAIN)
def test_only_the_generator_and_the_decoder_stay(case: str, tmp_path: Path, new_modules: Callable[[], Counter[str]]):
    assert not new_modules()
    model = tiny.build(case, cache=tmp_path)
    assert not new_modules(), "before they are used"
    model.encode(PROMPTS)
    _ = model.pipeline
    there = new_modules()
    whole: Any = DiffusionPipeline.from_pretrained(tiny.folder(case))
    generator = getattr(whole, "unet", None) or whole.transformer
    parts = [generator, whole.vae.decoder, getattr(whole.vae, "post_quant_conv", None)]
    expected = Counter(type(one).__name__ for part in parts if part is not None for one in part.modules())
    assert there == expected + Counter([type(whole.vae).__name__])


# Prompt embeddings


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the text encoders that were loaded since."""
    names: list[str] = []
    load: Callable[..., Any] = PreTrainedModel.from_pretrained.__func__  # type: ignore[attr-defined]

    def counted(kind: type, *arguments: Any, **named: Any) -> Any:
        names.append(kind.__name__)
        return load(kind, *arguments, **named)

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", classmethod(counted))
    return names


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("case", tiny.PLAIN)
def test_a_prompt_is_encoded_once_for_every_model_of_the_same_text_encoders(
    case: str, tmp_path: Path, loads: list[str]
):
    copy, cache = shutil.copytree(tiny.folder(case), tmp_path / "copy"), tmp_path / "prompts"
    first = tiny.build(case, repo=copy, cache=cache)
    assert not loads, "before there is a prompt"
    condition = first.encode(PROMPTS)
    assert len(loads) == len(list(copy.glob("text_encoder*")))
    loads.clear()
    second = tiny.build(case, repo=copy, cache=cache, resolution=64, checkpointing="full")
    for path in copy.glob("text_encoder*/*.safetensors"):
        path.write_bytes(b"poison")
    for path in copy.glob("tokenizer*"):
        shutil.rmtree(path)
    assert same(first.encode(PROMPTS), condition)
    assert same(second.encode(PROMPTS), condition)
    assert same(second.encode(PROMPTS[:1]), {name: one[:1] for name, one in condition.items()})
    assert same(second.encode(PROMPTS[::-1]), {name: one.flip(0) for name, one in condition.items()})
    assert not loads


def changed_text_encoder(folder: Path) -> None:
    path = next((folder / "text_encoder").glob("*.safetensors"))
    save_file({name: one + 0.1 for name, one in load_file(path).items()}, path, {"format": "pt"})


@pytest.mark.parametrize("case", ["sd_turbo-plain", "flux-plain"])
def test_what_changes_an_embedding_is_encoded_anew(case: str, tmp_path: Path, loads: list[str]):
    cache = tmp_path / "prompts"
    seen = [tiny.build(case, cache=cache).encode(PROMPTS[:1])]
    other = shutil.copytree(tiny.folder(case), tmp_path / "copy")
    changed_text_encoder(other)
    settings: list[dict[str, Any]] = [{"repo": other}, {"dtype": "float64"}]
    settings += [{"text_length": 32}] if "flux" in case else []
    for setting in settings:
        loads.clear()
        seen.append(tiny.build(case, cache=cache, **setting).encode(PROMPTS[:1]))
        assert loads
    loads.clear()
    seen.append(tiny.build(case, cache=cache).encode(["A red ring."]))
    assert loads
    assert not any(same(one, another) for i, one in enumerate(seen) for another in seen[:i])


def test_a_damaged_or_foreign_entry_is_made_again(tmp_path: Path, loads: list[str]):
    model = tiny.build("sd_turbo-plain", cache=tmp_path)
    expected = model.encode(PROMPTS)
    one, other = sorted(tmp_path.glob("*.safetensors"))
    whole, foreign = one.read_bytes(), other.read_bytes()
    for content in (b"", whole[:-1], foreign):
        one.write_bytes(content)
        loads.clear()
        assert same(model.encode(PROMPTS), expected)
        assert loads
        assert one.read_bytes() == whole
    assert len(list(tmp_path.iterdir())) == 2


def test_two_processes_that_encode_the_same_prompts_at_once_do_no_harm(tmp_path: Path):
    case, cache, prompts = "sd_turbo-plain", tmp_path / "prompts", [f"ring {number}" for number in range(20)]
    here, alone = (tiny.build(case, cache=one) for one in (cache, tmp_path / "alone"))
    processes = get_context("fork")
    start = processes.Barrier(2, timeout=60)

    def encode() -> None:
        start.wait()
        here.encode(prompts)

    other = processes.Process(target=encode)
    other.start()
    encode()
    other.join()
    assert other.exitcode == 0
    condition = here.encode(prompts)
    assert same(condition, alone.encode(prompts))
    assert len(list(cache.iterdir())) == 20
