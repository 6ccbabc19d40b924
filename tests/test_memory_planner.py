"""What is chosen for a GPU's memory, on pretended cards, and the prediction behind it against counted tensors."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import official
import pytest
import torch
from conftest import Compose
from tiny import models as tiny
from tiny.rewards import files
from torch import Tensor

from gradproj.errors import UserError
from gradproj.execution import devices
from gradproj.execution.memory.counted import generator, needs
from gradproj.execution.memory.planner import LADDER, card, largest, plan
from gradproj.execution.memory.stages import Generator, Judge, stages
from gradproj.execution.settings import keys
from gradproj.runs.naming import config_of

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # scripts/ is no part of the package

from scripts import cards  # noqa: E402
from scripts.counting import build  # noqa: E402
from scripts.counting.count import count  # noqa: E402

GIB = 2**30
Plain = Callable[..., dict[str, Any]]


@pytest.fixture
def settings(compose: Compose) -> Plain:
    return lambda *typed: keys.check(compose(*typed))


def chosen(made: dict[str, Any]) -> tuple[Any, ...]:
    memory = made["model"]["memory"]
    return made["batch"], made["held_out"], memory["checkpointing"], memory["decoder_checkpointing"]


@pytest.mark.parametrize(
    ("gigabytes", "expected"),
    [
        (80, (4, "during", "none", "none")),
        (48, (2, "during", "none", "none")),
        (40, (1, "during", "none", "none")),
        (32, (1, "cpu", "none", "blocks")),
    ],
)
def test_flux_by_default_on_a_card(settings: Plain, gigabytes: int, expected: tuple[Any, ...]) -> None:
    made = plan(settings("model=flux"), card(gigabytes))
    assert chosen(made.settings) == expected
    assert made.predicted and largest(made.predicted) <= card(gigabytes)[0]
    assert made.said.startswith(f"memory: batch={expected[0]}, held_out={expected[1]}, checkpointing={expected[2]}")
    assert ("; with " in made.said) is (gigabytes < 80), "the next better one does not fit, and the line says so"
    made.expect_room()


@pytest.mark.parametrize("gigabytes", [24, 16])
def test_a_card_too_small_for_anything_is_told_the_part_that_does_not_fit(settings: Plain, gigabytes: int) -> None:
    made = plan(settings("model=flux"), card(gigabytes))
    assert made.refused.startswith("no room for the generator and the decoder of Flux, 22.2 GiB: with batch=1, ")
    assert "checkpointing=full" in made.refused
    advice = "type model.quantization=int8, which is another run with other numbers, or take a card of 32 GB or more"
    assert made.refused.endswith(f"{advice} (docs/models.md)")
    with pytest.raises(UserError, match="no room for the generator"):
        made.expect_room()
    stored = plan(settings("model=flux", "model.quantization=int8"), card(gigabytes))
    assert stored.refused == "" and stored.settings["model"]["quantization"] == "int8"


def test_other_parts_that_do_not_fit(settings: Plain) -> None:
    flux = settings("model=flux")
    for free, part in (
        (9, "the text encoders of Flux, 9.1 GiB"),
        (23.3, "Flux beside the rewards"),
        (25, "one iteration"),
    ):
        total = int(32 * GIB)
        made = plan(flux, (int(free * GIB), total))
        assert made.refused.startswith(f"no room for {part}"), made.refused
        assert made.refused.endswith("others hold the rest (nvidia-smi lists them)"), "the card is large enough"
    by_hand = settings("model=flux", "model.memory.checkpointing=none", "held_out=during")
    assert "type batch=auto held_out=auto model.memory.checkpointing=auto" in plan(by_hand, card(32)).refused
    large = settings("model=sd_turbo", "held_out=after", "rewards.pickscore.dtype=float64", "model.resolution=64")
    assert plan(large, (5 * GIB, 5 * GIB)).refused.startswith("no room for the largest reward that scores at the end")


@pytest.mark.parametrize("card_size", [16, 24, 32, 40, 48, 80])
@pytest.mark.parametrize("model", ["flux", "sdxl_turbo", "sd_turbo", "sana_sprint"])
def test_the_choice_names_no_run_and_never_scores_later(settings: Plain, model: str, card_size: int) -> None:
    asked = settings(f"model={model}")
    made = plan(asked, card(card_size)).settings
    assert made["held_out"] in ("during", "cpu") and type(made["batch"]) is int

    def named(one: dict[str, Any]) -> Any:
        return config_of(model, "ours", ["aesthetic"], keys.split_rewards(one)[0])

    assert named(made) == named(asked)
    changed = {key for key in asked if asked[key] != made[key]}
    assert changed <= {"batch", "held_out", "model"}


def test_what_is_typed_stays(settings: Plain) -> None:
    for typed in ("batch=3", "held_out=during", "model.memory.checkpointing=full"):
        key, value = typed.split("=")
        for gigabytes in (16, 32, 48, 80):
            made = plan(settings("model=flux", typed), card(gigabytes)).settings
            found = made["model"]["memory"]["checkpointing"] if "model" in key else made[key]
            assert str(found) == value, gigabytes
    for gigabytes in (32, 80):
        given = plan(settings("model=flux", "memory=given"), card(gigabytes))
        assert (given.said, given.refused) == ("", "") and chosen(given.settings) == (1, "during", "auto", "auto")


def test_on_a_processor_and_for_the_miniature_nothing_changes(settings: Plain) -> None:
    flux, shapes = settings("model=flux"), settings("model=shapes")
    assert plan(flux, None).settings == flux | {"batch": 1, "held_out": "during"}
    for memory in (None, card(16), (0, 0)):
        made = plan(shapes, memory)
        assert made.settings == shapes | {"held_out": "during"}
        assert (made.predicted, made.said, made.refused) == (None, "", "")
    assert devices.memory("cpu") is None
    assert tiny.build("flux-plain", checkpointing="auto", decoder_checkpointing="auto").policies == {
        "checkpointing": "none",
        "decoder_checkpointing": "none",
    }


def test_what_was_not_counted_is_left_alone(settings: Plain) -> None:
    folder = tiny.folder("flux-plain")
    for typed in ([f"model.source.repo={folder}"], ["model._target_=somebodys.models.flux.Flux"]):
        made = settings("model=flux", *typed)
        assert generator(made) is None and plan(made, card(16)).refused == ""
    object_of_ones_own = settings("model=shapes") | {"model": object()}
    assert plan(object_of_ones_own, card(16)).refused == ""
    mirror = settings("model=flux", "model.source.repo=somebody/flux-mirror")
    assert needs(mirror) == needs(settings("model=flux"))


# --- the prediction against counted tensors


def weigh(*networks: Any) -> int:
    return sum(one.numel() * one.element_size() for network in networks for one in network.parameters())


def kept(work: Callable[[], Tensor], *networks: Any) -> int:
    """Bytes that a forward pass saves for its backward pass, each storage once, weights not counted."""
    weights = {one.untyped_storage().data_ptr() for network in networks for one in network.parameters()}
    seen: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            seen[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        image = work()
    assert image.requires_grad
    return sum(one.untyped_storage().nbytes() for one in seen.values())


@pytest.mark.parametrize("policies", [("none", "none"), ("none", "blocks"), ("blocks", "blocks")])
@pytest.mark.parametrize("case", tiny.PLAIN)
def test_a_batch_beside_a_reward_keeps_what_is_predicted_from_one_picture(
    case: str, policies: tuple[str, str], tmp_path: Path
) -> None:
    """The sum that the planner makes of counts, on networks in the published layout."""
    both = dict(zip(("checkpointing", "decoder_checkpointing"), policies, strict=True))
    model, reward = tiny.build(case, cache=tmp_path, **both), official.build("clip", files("clip"))
    texts = reward.encode(["a red ring"])
    networks = (model.network, model.decoder, reward.network)

    def climbed(batch: int) -> Tensor:
        latent = tiny.random_latent(model, batch).requires_grad_()
        return reward(model.generate(latent, model.encode(["a red ring"] * batch)), texts.expand(batch, -1))

    def drawn() -> Tensor:
        return model.generate(tiny.random_latent(model, 1).requires_grad_(), model.encode(["a red ring"]))

    with torch.no_grad():
        picture = drawn()
    picture.requires_grad_()
    judged, made = kept(lambda: reward(picture, texts), *networks), kept(drawn, *networks)
    counts = Generator(text=0, weights=weigh(model.network, model.decoder), kept=made, peak=0)
    judge = {"clip": Judge(text=weigh(reward.tower.text_half()), weights=weigh(reward.network), peak=judged)}
    for batch in (1, 3):
        predicted = stages(counts, judge, ["clip"], batch, "during")
        counted, activations = (
            kept(lambda batch=batch: climbed(batch), *networks),
            predicted["climb"] - predicted["load"],
        )
        assert 0.6 * activations <= counted <= 1.1 * activations
        assert predicted["load"] == weigh(*networks)
        assert predicted["text"] == judge["clip"].text


def test_where_the_other_rewards_are() -> None:
    judges = {"a": Judge(text=3, weights=10, peak=5), "b": Judge(text=7, weights=20, peak=9)}
    model = Generator(text=6, weights=100, kept=50, peak=52)
    during, cpu, after = (stages(model, judges, ["a"], 2, held_out) for held_out in ("during", "cpu", "after"))
    assert during == {"text": 7, "load": 130, "climb": 130 + 2 * 55, "score": 0}
    assert cpu == {"text": 6, "load": 110, "climb": 110 + 2 * 55, "score": 0}
    assert after == {"text": 7, "load": 110, "climb": 110 + 2 * 55, "score": 20}
    assert stages(model, {}, ["own"], 1, "during", text_on_gpu=False) == {
        "text": 0,
        "load": 100,
        "climb": 152,
        "score": 0,
    }


def test_larger_pictures_and_wider_numbers_need_more(settings: Plain) -> None:
    one, large, wide = (
        generator(settings("model=sd_turbo", *typed))
        for typed in ((), ("model.resolution=1024",), ("model.dtype=float32",))
    )
    assert one and large and wide
    assert (large.weights, large.kept) == (one.weights, 4 * one.kept)
    assert (wide.weights, wide.kept, wide.text) == (2 * one.weights, 2 * one.kept, 2 * one.text)
    assert len({needs(settings("model=flux", f"held_out={held_out}"))["load"] for held_out, *_ in LADDER}) == 2  # type: ignore[index]


def test_a_small_decoder_leaves_less_behind_and_its_own_weights_come_to_the_full_ones(settings: Plain) -> None:
    full, small = (generator(settings("model=flux", f"model.decoder={decoder}")) for decoder in ("full", "tiny"))
    assert full and small
    assert small.weights - full.weights == 2 * 1_229_443, "bfloat16"
    assert full.kept - small.kept > 2.4 * GIB and full.peak - small.peak > 2.4 * GIB
    made = plan(settings("model=flux", "model.decoder=tiny"), card(32))
    assert chosen(made.settings) == (1, "cpu", "none", "none"), "with the full one the decoder is computed again"
    mine = ("model=sana_sprint", "model.decoder=tiny", "model.source.tiny_repo=mine/tiny")
    assert generator(settings(*mine)) == generator(settings("model=sana_sprint")), (
        "not counted: as large as the full one"
    )


@pytest.mark.parametrize("decoder", ["full", "tiny"])
def test_a_decoder_that_needs_float32_is_counted_as_such(settings: Plain, tmp_path: Path, decoder: str) -> None:
    size = next(size for size in build.sizes() if size.name == "sdxl_turbo")
    size = replace(size, parts={**size.parts, "vae": {**size.parts["vae"], "force_upcast": True}})
    meta = torch.device("meta")
    model = build.model(size, meta, decoder=decoder, checkpointing="none", decoder_checkpointing="none")
    counted = count(model, build.condition(size, model), torch.randn(1, *model.latent_shape, device=meta))
    vae = tmp_path / "vae"
    vae.mkdir()
    for said, upcast in (({}, True), ({"force_upcast": True}, True), ({"force_upcast": False}, False)):
        (vae / "config.json").write_text(json.dumps(said), encoding="utf-8")
        typed = ["model=sdxl_turbo", f"model.decoder={decoder}", f"model.source.vae_repo={vae}"]
        predicted, published = generator(settings(*typed)), generator(settings(*typed[:2]))
        assert predicted and published
        assert (predicted == published) is not upcast
        if upcast:
            assert predicted.kept == pytest.approx(counted.generator.kept + counted.decoder.kept, rel=0.005)
            assert predicted.peak == pytest.approx(counted.peak, rel=0.005)
            decoders = weigh(model.pipeline.vae.decoder, model.pipeline.vae.post_quant_conv)
            assert predicted.weights - published.weights == pytest.approx(decoders / 2, rel=0.7), "its encoder, too"
    for own in ("model.source.vae_repo=null", "model.source.repo=mine/sdxl-turbo"):
        assert generator(settings(*typed[:2], own)) != published, "SDXL's own VAE"


def test_the_table_of_the_docs_is_the_planners() -> None:
    lines = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").splitlines()
    first, *rows = cards.table()
    start = lines.index(first)
    assert lines[start + 1 : start + 1 + len(rows)] == rows, "python scripts/cards.py prints it"
