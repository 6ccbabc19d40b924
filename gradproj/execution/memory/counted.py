"""The bytes of a run's tensors, stage by stage, from the committed counts of the published sizes (results/full_size).

This is the one prediction, of the planner, of ``gradproj doctor``, in env.json and in the table of docs/models.md.
"""

import csv
import json
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from gradproj.errors import UserError
from gradproj.execution.memory import GIB
from gradproj.execution.memory.stages import Generator, Judge, stages
from gradproj.execution.settings.overrides import data_folder
from gradproj.runs.naming import target

CONTEXT = GIB  # what a card needs besides: kernels' workspaces, and the gaps between what is allocated
PROGRAM = 4 * GIB  # Python and its libraries, in the machine's memory
WIDTH = {"float64": 8, "float32": 4}  # bytes of a number; two for the others
NEAR = 0.02  # another network of the same layout is taken for the counted one up to this part of its parameters
POLICIES = ("checkpointing", "decoder_checkpointing")
Settings = Mapping[str, Any]


def needs(settings: Settings) -> dict[str, int] | None:
    """``stages`` of a run's settings, ``auto`` as without a planner; None for a model that is not counted."""
    model = generator(settings)
    if model is None:
        return None
    nodes = {name: node for name, node in settings["rewards"].items() if isinstance(node, Mapping)}
    known = {name: judge(name, node) for name, node in nodes.items() if name in _rewards()}
    where = settings["model"]["memory"]["text_encoder_device"]
    batch, held_out = (plain(settings)[key] for key in ("batch", "held_out"))
    return stages(model, known, target(settings).keys(), batch, held_out, where is None or where.startswith("cuda"))


def plain(settings: Settings) -> dict[str, Any]:
    """What ``auto`` stands for where nothing is chosen: as little as can be done."""
    given = {key: settings[key] for key in ("batch", "held_out")}
    return given | {key: value for key, value in (("batch", 1), ("held_out", "during")) if given[key] == "auto"}


def loading(settings: Settings) -> int:
    """Bytes of the machine's memory while the generator, the largest network, is loaded; 0 where it is not counted.

    It is loaded in full where its weights are then stored in fewer bits, too.
    """
    node = settings["model"]
    model = generator(
        {**settings, "model": {**node, "quantization": "none"}} if isinstance(node, Mapping) else settings
    )
    if model is None:
        return 0
    aside = sum(judge(name, settings["rewards"][name]).weights for name in _held_out(settings) if name in _rewards())
    return model.weights + PROGRAM + aside * (settings["held_out"] == "cpu")


def generator(settings: Settings) -> Generator | None:
    """The counts of the settings' model, at its policies, resolution and number type; None where there are none.

    A local folder is counted where its generator has as many parameters as one that was counted; what is on the hub is
    taken for as large as it is published. A small decoder of one's own is taken for the published one; where none is
    published, for as large as the full one.
    """
    node = settings["model"]
    own = isinstance(node, Mapping) and node["_target_"].startswith("gradproj.models.")
    name = node["_target_"].split(".")[-2] if own else None
    if name is None or "source" not in node:
        return None
    rows = [row for row in _table("table") if f"{row['model']}_".startswith(f"{name}_")]
    wanted = {key: node["memory"][key].replace("auto", "none") for key in POLICIES}
    decoder = node.get("decoder", "full")
    wanted["decoder"] = decoder if decoder in {row["decoder"] for row in rows} else "full"
    rows = [row for row in _of_size(rows, node) if all(row[key] == value for key, value in wanted.items())]
    if not rows:
        return None
    row, width = rows[-1], WIDTH.get(node["dtype"], 2) / 2  # the last is the largest
    if _upcasts(node, _published(name)["source"]["repo"]):
        row = _upcast(row)
    scale = width * (node["resolution"] / _published(name)["resolution"]) ** 2
    text = {one["model"]: 2 * int(one["parameters"]) for one in _table("text_encoders")}
    kept = int(row["generator_kept_bytes"]) + int(row["decoder_kept_bytes"])
    stored, itemsize = node.get("quantization", "none"), WIDTH.get(node["dtype"], 2)
    return Generator(
        text=int(width * text[name]) - _saved(name, "text_encoder_2", stored, itemsize),
        weights=int(width * int(row["weights_bytes"])) - _saved(name, "transformer", stored, itemsize),
        kept=int(scale * kept),
        peak=int(scale * int(row["peak_bytes"])),
    )


def _upcasts(node: Settings, published: str) -> bool:
    """Whether the VAE runs in float32 where the rest is float16: SDXL's does where its configuration does not deny it.

    Of what is on the hub the configuration is not read: SDXL's own VAE is taken for the published one, which does, and
    who names another one has one for float16.
    """
    source = node["source"]
    if node["dtype"] != "float16" or "vae_repo" not in source:  # other models have no such key
        return False
    vae = source["vae_repo"]
    own = vae is None or (vae == "auto" and source["repo"] != published)
    folder = Path(source["repo"], "vae") if own else Path(str(vae))
    try:
        config = json.loads((folder.expanduser() / "config.json").read_text(encoding="utf-8"))
        return bool(config.get("force_upcast", True))  # diffusers' default
    except (OSError, ValueError, RuntimeError, AttributeError):  # none is here; the run tells what is wrong with it
        return own


def _upcast(row: Mapping[str, str]) -> dict[str, str]:
    """The counts of ``row`` with the full decoder in twice as many bits; the small one stays as it is."""
    generator, peak, whole = (int(row[key]) for key in ("generator_kept_bytes", "peak_bytes", "autoencoder_parameters"))
    wide = {"weights_bytes": int(row["weights_bytes"]) + 2 * whole}
    if row["decoder"] == "full":  # the peak is where the decoder's tensors lie beside all that the generator kept
        wide |= {"decoder_kept_bytes": 2 * int(row["decoder_kept_bytes"])}
        wide |= {"peak_bytes": max(peak, 2 * peak - generator)}
    return {**row, **{key: str(value) for key, value in wide.items()}}


def judge(name: str, node: Settings) -> Judge:
    """The counts of a published reward with the settings ``node``."""
    row, width = _rewards()[name], WIDTH.get(node.get("dtype", "float32"), 2)
    text = int(row["text_parameters"])
    return Judge(width * text, width * (int(row["parameters"]) - text), width * int(row["peak_bytes"]) // 4)


def _held_out(settings: Settings) -> list[str]:
    return [name for name in settings["rewards"] if name not in target(settings)]


def _of_size(rows: list[dict[str, str]], node: Settings) -> list[dict[str, str]]:
    """Those of ``rows`` that are as large as the model of the settings ``node``."""
    repo, variant = node["source"]["repo"], node["source"]["variant"]
    folder = Path(repo).expanduser()
    if not folder.is_dir():
        return [row for row in rows if row["model"].rpartition("_")[2] in repo.lower()] or rows
    from gradproj.pretrained import layout

    for name in (variant, None):
        patterns = layout.weight_patterns(("transformer", "unet"), name)
        files = [path for pattern in patterns for path in folder.glob(pattern)]
        if files:
            with suppress(UserError):  # the run tells what is wrong with a file
                found = layout.count_parameters(files)
                return [row for row in rows if abs(found / int(row["generator_parameters"]) - 1) <= NEAR]
    return []


def _saved(model: str, part: str, quantization: str, itemsize: int) -> int:
    """How many bytes fewer the weights of ``part`` take, quantized, than at ``itemsize`` a number."""
    rows = [row for row in _table("quantized") if (row["model"], row["part"]) == (model, part)]
    return sum(itemsize * int(row["quantized"]) - int(row[quantization]) for row in rows if quantization != "none")


def _rewards() -> dict[str, dict[str, str]]:
    return {row["reward"]: row for row in _table("rewards")}


@cache
def _published(model: str) -> dict[str, Any]:
    return yaml.safe_load((data_folder("configs") / "model" / f"{model}.yaml").read_text(encoding="utf-8"))["model"]


@cache
def _table(name: str) -> list[dict[str, str]]:
    with (data_folder("results") / "full_size" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
