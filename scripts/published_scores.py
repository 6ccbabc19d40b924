"""Record the published code's scores of the pictures that ship, on the published weights, for `gradproj verify`.

    python scripts/published_scores.py aesthetic hpsv2 imagereward

The weights are those of the reward's YAML, fetched where they are missing; the published packages are those of
`make parity`, in .venv-official. PickScore and CLIP need no record: their published code is transformers itself. An
entry goes into results/verified/published_scores.json, with the weights' names and hashes, and is found by them.

Nobody has run this on the published weights: none were at hand. What was tried: `make parity` calls hpsv2 1.2.0 and
image-reward 1.5 through the same function on random weights, small and at full size, and every call, name and answer
that it relies on was read in those packages; the tests call this script with those answers in the packages' place.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import parity

from gradproj.execution.settings.compose import compose_reward
from gradproj.execution.verify import reward as verified
from gradproj.execution.verify import shipped
from gradproj.files import place

FILE = parity.ROOT / "results" / verified.RECORDED
LOWER = json.dumps({"do_lower_case": True, "model_max_length": 512})
FILES: Mapping[str, Callable[[Any], dict[str, Path | str]]] = {  # as scripts/published_scorers/score.py calls them
    "aesthetic": lambda reward: {
        **{name: reward.tower.files.fetch() / name for name in ("config.json", "model.safetensors")},
        "sac+logos+ava1-l14-linearMSE.pth": reward.predictor,
    },
    "hpsv2": lambda reward: {
        "HPS_v2.1_compressed.pt": reward.files.fetch() / reward.file,
        "architecture.json": json.dumps(reward.sizes),
    },
    "imagereward": lambda reward: {
        "ImageReward.pt": reward.files.fetch() / reward.file,
        "med_config.json": reward.files.folder / "med_config.json",
        "vocab.txt": reward.words,
        "tokenizer_config.json": LOWER,
    },
}


def record(name: str, overrides: list[str]) -> dict[str, Any]:
    """The entry of one reward: weights, pictures, the published scores (pictures, prompts), the packages' versions."""
    reward, _ = compose_reward(name, overrides)
    with tempfile.TemporaryDirectory() as temporary:
        folder, pictures = Path(temporary) / name, Path(temporary) / "pictures"
        folder.mkdir()
        pictures.mkdir()
        for file, content in FILES[name](reward).items():
            if isinstance(content, str):
                (folder / file).write_text(content, encoding="utf-8")
            else:
                (folder / file).symlink_to(content.resolve())
        for index, picture in enumerate(shipped.pictures()):
            picture.save(pictures / f"{index}.png")
        (pictures / "prompts.json").write_text(json.dumps(shipped.PROMPTS), encoding="utf-8")
        answer = parity.official(name, folder, pictures, Path(temporary) / "out.json")
    return {
        "weights": dict(reward.weights),
        "pictures": shipped.digest(),
        "scores": answer["scores"],
        "versions": answer["versions"],
    }


def add(name: str, entry: Mapping[str, Any], file: Path = FILE) -> None:
    """Put ``entry`` into ``file``, in place of one for the same weights."""
    entries = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    others = [other for other in entries.get(name, []) if other["weights"] != entry["weights"]]
    place(file, parity.to_text({**entries, name: [*others, entry]}).encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rewards", nargs="+", choices=FILES)
    rewards = parser.parse_args().rewards
    parity.install()
    for name in rewards:
        add(name, record(name, []))
        print(f"{name} -> {FILE}")


if __name__ == "__main__":
    main()
