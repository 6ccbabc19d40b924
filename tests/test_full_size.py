"""scripts/full_size.py: what it counts equals counts by hand, and the committed table what is counted now."""

import csv
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gradproj.pretrained.recompute import POLICIES, again

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # scripts/ is no part of the package

from scripts.counting import beside, build, report, table  # noqa: E402
from scripts.counting.count import Live, count  # noqa: E402
from scripts.counting.kernels import gpu_kernels  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers and numpy
META, CPU = torch.device("meta"), torch.device("cpu")
SIZES = {size.name: size for size in build.sizes()}
UNET = {"block_out_channels": [32, 64], "norm_num_groups": 8, "layers_per_block": 1}
UNET |= {
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}
KL = {"block_out_channels": [8, 16], "norm_num_groups": 4, "layers_per_block": 1}
KL |= {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
DC = {"encoder_block_out_channels": [8, 8, 16], "decoder_block_out_channels": [8, 8, 16], "attention_head_dim": 4}
DC |= {f"{half}_block_types": ["ResBlock", "ResBlock", "EfficientViTBlock"] for half in ("encoder", "decoder")}
DC |= {f"{half}_layers_per_block": [1, 1, 1] for half in ("encoder", "decoder")}
DC |= {f"{half}_qkv_multiscales": [[], [], [5]] for half in ("encoder", "decoder")}
SANA = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "num_cross_attention_heads": 2}
SANA |= {
    "cross_attention_head_dim": 8,
    "cross_attention_dim": 16,
    "caption_channels": 24,
    "in_channels": 4,
    "out_channels": 4,
}
FLUX = {"num_layers": 1, "num_single_layers": 2, "num_attention_heads": 2, "attention_head_dim": 16}
FLUX |= {"axes_dims_rope": [4, 6, 6], "joint_attention_dim": 24, "pooled_projection_dim": 12, "in_channels": 16}
SDXL = {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 12 + 6 * 8}
SDXL |= {"attention_head_dim": [2, 4], "cross_attention_dim": 24, "transformer_layers_per_block": [1, 2]}
TINY = {"_class_name": "AutoencoderTiny", "latent_channels": 4, "upsampling_scaling_factor": 2}
TINY |= {f"{half}_block_out_channels": [8, 8] for half in ("encoder", "decoder")}
TINY |= {f"num_{half}_blocks": [1, 1] for half in ("encoder", "decoder")}
NARROW: dict[str, dict[str, dict[str, Any]]] = {
    "flux": {"transformer": FLUX, "vae": KL | {"latent_channels": 4}},
    "sdxl_turbo": {"unet": UNET | SDXL, "vae": KL},
    "sd_turbo": {"unet": UNET | {"attention_head_dim": [2, 4], "cross_attention_dim": 24}, "vae": KL},
    "sana_sprint_0.6b": {"transformer": SANA, "vae": DC | {"latent_channels": 4}},
    "sana_sprint_1.6b": {"transformer": SANA, "vae": DC | {"latent_channels": 4}},
}
WIDTHS = {"encoder_hidden_states": 24, "text_embeds": 12, "pooled_projections": 12}


def narrow(name: str) -> build.Size:
    """A size's own file, a few channels wide."""
    size = SIZES[name]
    parts = {part: {**config, **NARROW[name].get(part, {})} for part, config in size.parts.items()}
    shapes = {key: [*shape[:-1], WIDTHS.get(key, shape[-1])] for key, shape in size.condition.items()}
    return replace(size, parts=parts, condition=shapes, tiny=size.tiny and TINY)


class Decoder(nn.Conv2d):
    def decode(self, clean: Tensor) -> tuple[Tensor]:
        return (self(clean),)


class Small:
    """A model to be counted by hand: two linear layers, a convolution; the layers perhaps computed again backwards."""

    def __init__(self, computed_again: bool) -> None:
        with META:
            self.unet = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 8)).requires_grad_(False)
            self.decoder = Decoder(2, 3, 3, padding=1).requires_grad_(False)
        self.pipeline = SimpleNamespace(components={"unet": self.unet, "vae": self.decoder, "scheduler": None})
        self.computed_again = computed_again

    def generate(self, latent: Tensor, condition: None) -> Tensor:
        clean = again(self.unet, latent) if self.computed_again else self.unet(latent)
        return self.decoder.decode(clean.view(-1, 2, 2, 2))[0]


@pytest.mark.parametrize("computed_again", [False, True])
def test_counts_of_a_small_model_by_hand(computed_again: bool) -> None:
    found = count(Small(computed_again), None, torch.empty(5, 8, device=META))
    linear, convolution = 5 * 2 * (8 * 16 + 16 * 8), 5 * 2 * 3 * 2 * 9 * 2 * 2
    assert (found.generator.forward, found.decoder.forward) == (linear, convolution)
    first = 5 * 2 * 8 * 16 if computed_again else 0  # what is computed again ends with the last thing that is kept
    assert found.generator.backward == linear + first  # no gradient of any weight
    assert found.decoder.backward == convolution
    clean, hidden, image = (
        5 * 8 * 4,
        5 * 16 * 4,
        5 * 12 * 4,
    )  # float32; SiLU keeps its input, a frozen linear layer nothing
    assert found.generator.kept == clean + (0 if computed_again else hidden)
    assert found.decoder.kept == image


def test_attention_and_norms_keep_what_a_gpu_keeps() -> None:
    def kept(work: Any, *shape: int) -> int:
        q = torch.empty(shape, device=META, dtype=torch.float16, requires_grad=True)
        with Live([q]) as live, gpu_kernels():
            result = work(q)
            assert (result.shape, result.dtype, result.requires_grad) == (q.shape, q.dtype, True)
            (gradient,) = torch.autograd.grad(result.sum(), q, retain_graph=True)
            assert gradient.shape == q.shape
            del gradient
        return live.now

    n, rows = 2 * 3 * 32 * 64, 2 * 3 * 32
    least = 2 * n + 4 * rows  # the result and a float32 a row; beside them a random state, a padded mask
    assert least <= kept(lambda q: F.scaled_dot_product_attention(q, q, q), 2, 3, 32, 64) <= least + 256
    mask = torch.zeros(2, 1, 1, 32, device=META, dtype=torch.float16)
    assert least <= kept(lambda q: F.scaled_dot_product_attention(q, q, q, attn_mask=mask), 2, 3, 32, 64) <= least + 256
    norm = nn.RMSNorm(64, device=META, dtype=torch.float16).requires_grad_(False)
    assert kept(norm, 2, 3, 32, 64) == least


@pytest.mark.parametrize("name", ["flux", "sana_sprint_0.6b"])
def test_the_policies_of_a_narrow_model(name: str) -> None:
    size = narrow(name)
    rows = {policy: table.counted(size, policy, policy, resolution=64) for policy in POLICIES}
    for part in ("generator", "decoder"):
        flop = [(rows[policy][f"{part}_forward_flop"], rows[policy][f"{part}_backward_flop"]) for policy in POLICIES]
        assert len({forward for forward, _ in flop}) == 1
        forward = flop[0][0]
        assert flop[0][1] < flop[1][1] <= flop[0][1] + forward  # at most one more forward pass
        assert flop[1][1] < flop[2][1] <= flop[1][1] + forward  # full: one more again
        kept = [rows[policy][f"{part}_kept_bytes"] for policy in POLICIES]
        assert kept[0] > kept[1] > kept[2]
    peaks = [rows[policy]["peak_bytes"] for policy in POLICIES]
    assert peaks[0] > peaks[1] >= peaks[2]
    assert name in report.counts([size], list(rows.values()))


@pytest.mark.parametrize("decoder", ["full", "tiny"])
@pytest.mark.parametrize("name", ["sdxl_turbo"])
def test_kept_bytes_are_those_of_autograd(name: str, decoder: str) -> None:
    made = build.model(narrow(name), META, resolution=64, decoder=decoder)
    condition, latent = build.condition(narrow(name), made), torch.empty(1, *made.latent_shape, device=META)
    work = count(made, condition, latent)
    known = {one.untyped_storage()._cdata for part in (made.network, made.decoder) for one in part.parameters()}
    known |= {one.untyped_storage()._cdata for one in (*condition.values(), latent)}
    saved: dict[int, Tensor] = {}

    def pack(one: Tensor) -> Tensor:
        saved[one.untyped_storage()._cdata] = one
        return one

    with gpu_kernels(), torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one):
        picture = made.generate(latent.requires_grad_(), condition)
    expected = picture.untyped_storage().nbytes() + sum(
        one.untyped_storage().nbytes() for key, one in saved.items() if key not in known
    )
    assert 0 <= work.generator.kept + work.decoder.kept - expected <= 8  # half precision's range keeps a scalar


def test_with_a_small_decoder_the_full_one_is_in_memory_too_and_its_pictures_count() -> None:
    size, settings = narrow("sd_turbo"), {"resolution": 64}
    made, full = (build.model(size, META, **settings, decoder=decoder) for decoder in ("tiny", "full"))
    condition, latent = build.condition(size, made), torch.empty(1, *made.latent_shape, device=META)
    work = count(made, condition, latent)
    weights = [one for network in (full.network, full.decoder) for one in network.parameters()]
    with Live([*weights, latent, *condition.values()]) as live, gpu_kernels(), torch.no_grad():
        full.generate(latent, condition)
    assert abs(work.drawn - live.peak) <= 8 and count(full, condition, latent).drawn == 0
    row = table.counted(size, "none", "none", **settings, decoder="tiny")
    assert row["peak_bytes"] == max(work.peak, work.drawn)
    assert row["weights_bytes"] == sum(one.nbytes for one in (*weights, *made.decoder.parameters()))
    assert row["decoder_parameters"] == build.parameters(made.decoder) != build.parameters(full.decoder)


@pytest.mark.parametrize(
    ("name", "decoder"), [*((name, "full") for name in NARROW), ("flux", "tiny"), ("sd_turbo", "tiny")]
)
def test_a_narrow_model_runs_and_costs_what_was_counted(name: str, decoder: str) -> None:
    size, settings = narrow(name), {"resolution": 64, "dtype": "float32", "decoder": decoder}
    row = table.measured(size, CPU, "blocks", rounds=1, warm=0, **settings)
    assert row["all_finite"] and row["iteration_seconds"] > row["forward_seconds"] > 0 and row["peak_bytes"] > 2**20
    assert name in table.measured_table([row])
    made = build.model(size, CPU, **settings)
    with FlopCounterMode(display=False) as flops, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        made.generate(torch.randn(1, *made.latent_shape), build.condition(size, made))
    counted = table.counted(size, "none", "none", **settings)
    assert flops.get_total_flops() == counted["generator_forward_flop"] + counted["decoder_forward_flop"]


def committed() -> list[dict[str, str]]:
    with (ROOT / "results/full_size/table.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("decoder", ["full", "tiny"])
def test_the_committed_table_is_what_is_counted_now(decoder: str) -> None:
    wanted = {"model": "sd_turbo", "decoder": decoder, "checkpointing": "none", "decoder_checkpointing": "none"}
    (row,) = [row for row in committed() if wanted.items() <= row.items()]
    now = table.counted(SIZES["sd_turbo"], "none", "none", decoder=decoder)
    assert {key: str(value) for key, value in now.items()} == row


def test_the_page_on_performance_has_the_counted_work_and_its_floors() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    plain = {"decoder": "full", "checkpointing": "none", "decoder_checkpointing": "none"}
    for row in (row for row in committed() if plain.items() <= row.items()):
        family, _, size = row["model"].partition("print_")
        name = f"`{family}print` {size.upper()}" if size else f"`{family}`"
        work = [
            int(row[f"{part}_{way}_flop"]) / 1e12
            for part in ("generator", "decoder")
            for way in ("forward", "backward")
        ]
        floors = [f"{1000 * sum(work) / peak:.0f} ms" for peak in (989, 155)]
        cells = [*(f"{one:.2f}" for one in work), f"{sum(work):.1f}", *floors]
        assert f"| {' | '.join([name, *cells])} |" in page


@pytest.mark.parametrize("name", SIZES)
def test_the_committed_table_has_the_published_networks(name: str) -> None:
    rows = {row["decoder"]: row for row in committed() if row["model"] == name}
    assert rows.keys() == ({"full", "tiny"} if SIZES[name].tiny else {"full"})
    for decoder in rows:
        own = [row for row in committed() if (row["model"], row["decoder"]) == (name, decoder)]
        policies = {(row["checkpointing"], row["decoder_checkpointing"]) for row in own}
        assert policies == {(one, other) for one in POLICIES for other in POLICIES}
    for what, (number, _) in SIZES[name].published.items():
        built = rows["tiny"]["decoder_parameters"] if what == "tiny" else rows["full"][f"{what}_parameters"]
        assert float(built) == pytest.approx(number, rel=0.005)


def test_what_stands_beside_a_generator_is_counted_as_committed() -> None:
    for name, rows in {"rewards": beside.rewards(), "text_encoders": beside.text_encoders()}.items():
        with (ROOT / "results" / "full_size" / f"{name}.csv").open(newline="") as file:
            assert list(csv.DictReader(file)) == [{key: str(value) for key, value in row.items()} for row in rows], name
