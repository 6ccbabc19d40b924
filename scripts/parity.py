"""Compare our rewards with the published code on random weights: `make parity`, or with ARGS="--full", ARGS="--write".

Installs the packages of scripts/published_scorers/ into .venv-official (5 GB, once), gives both the same random weights
and pictures, and compares their scores. The published code's scores are in tests/data/official_scores.json for
the tests; `--write` replaces them. `--full` also compares networks of the published sizes (10 GB of disk, 12 GB of
memory, half an hour).
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from tiny import inputs, layouts  # noqa: E402  # pyright: ignore[reportMissingImports]
from tiny import rewards as tiny  # noqa: E402  # pyright: ignore[reportMissingImports]

from gradproj.execution.settings.parts import make  # noqa: E402
from gradproj.pretrained.preprocess import to_tensor  # noqa: E402

OFFICIAL, PINS = ROOT / ".venv-official", ROOT / "scripts" / "published_scorers"
COMMITTED = ROOT / "tests" / "data" / "official_scores.json"
TOLERANCE = 1e-4  # of the scores' standard deviation
FULL_PICTURES, FULL_PROMPTS = [2, 6], [3, 4]  # indices


def install() -> None:
    """Install the published packages into an environment of their own, unless they are there already."""
    files = [PINS / "requirements.txt", PINS / "scorers.txt"]
    stamp = OFFICIAL / ".installed"
    pins = "".join(file.read_text() for file in files)
    if stamp.is_file() and stamp.read_text() == pins:
        return
    subprocess.run([sys.executable, "-m", "venv", OFFICIAL], check=True)
    (OFFICIAL / ".gitignore").write_text("*\n")
    pip = [str(OFFICIAL / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", files[0]], check=True)
    subprocess.run([*pip, "--no-deps", "-r", files[1]], check=True)
    packages = next(OFFICIAL.glob("lib/python*/site-packages"))
    words = "bpe_simple_vocab_16e6.txt.gz"  # hpsv2 was published without this file, which open_clip has, too
    (packages / "hpsv2" / "src" / "open_clip" / words).write_bytes((packages / "open_clip" / words).read_bytes())
    stamp.write_text(pins)


def official(name: str, weights: Path, pictures: Path, out: Path) -> dict[str, Any]:
    """What the published code of the reward ``name`` answers, as scripts/published_scorers/score.py describes."""
    command = [OFFICIAL / "bin" / "python", PINS / "score.py", name, weights, pictures, out]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    return json.loads(out.read_text())


def ours(name: str, keys: dict[str, Any], pictures: list[Any], prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Our ``score`` and ``__call__`` of every picture with every prompt, both (pictures, prompts) float64."""
    settings = yaml.safe_load((ROOT / "configs" / "rewards" / f"{name}.yaml").read_text())
    reward = make(tiny.changed(settings, keys), f"rewards.{name}")
    text = reward.encode(prompts)
    scores, calls = [], []
    for picture in pictures:
        scores.append(reward.score([picture] * len(prompts), prompts))
        with torch.no_grad():
            image = to_tensor(picture).to(reward.device).expand(len(prompts), -1, -1, -1)
            calls.append(reward(image, text).cpu())
    return torch.stack(scores).double(), torch.stack(calls).double()


def compare(
    scale: str, sizes: dict[str, Any], names: list[str], pictures: list[Any], prompts: list[str]
) -> dict[str, Any]:
    """Compare the rewards ``names`` at one scale, and print a line for each.

    ``difference`` and ``gap`` are the largest differences of ``score`` to the published code and of ``__call__`` to
    ``score``, in standard deviations of the published scores.
    """
    found: dict[str, Any] = {}
    for name in names:
        build = tiny.BUILDERS[name]
        with tempfile.TemporaryDirectory() as place:
            folder, shown = Path(place) / name, Path(place) / "pictures"
            keys = build(folder, sizes[name])
            shown.mkdir()
            for index, picture in enumerate(pictures):
                picture.save(shown / f"{index}.png")
            (shown / "prompts.json").write_text(json.dumps(prompts))
            answer = official(name, folder, shown, Path(place) / "out.json")
            scores, calls = ours(name, keys, pictures, prompts)
        reference = torch.tensor(answer["scores"], dtype=torch.float64)
        spread = reference.std()
        answer["difference"] = ((scores - reference).abs().max() / spread).item()
        answer["gap"] = ((calls - scores).abs().max() / spread).item()
        found[name] = answer
        print(
            f"{scale} {name:12} published code {reference.min():9.4f} to {reference.max():9.4f}, spread {spread:.4f}; "
            f"score differs by {answer['difference']:.1e}, __call__ from score by {answer['gap']:.1e} of it",
            flush=True,
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="also at the published sizes")
    parser.add_argument("--write", action="store_true", help=f"replace {COMMITTED.relative_to(ROOT)}")
    parser.add_argument("--only", nargs="+", choices=[*tiny.BUILDERS], default=[*tiny.BUILDERS], help="these rewards")
    options = parser.parse_args()
    install()
    kept = json.loads(COMMITTED.read_text()) if COMMITTED.is_file() else {}
    pictures, prompts = inputs.pictures(), inputs.PROMPTS
    found = {"tiny": compare("tiny", layouts.TINY, options.only, pictures, prompts)}
    if options.full:
        few = [pictures[index] for index in FULL_PICTURES], [prompts[index] for index in FULL_PROMPTS]
        found["full"] = compare("full", layouts.FULL, options.only, *few)
    worst = max(answer["difference"] for scale in found.values() for answer in scale.values())
    for name in [] if options.write else options.only:
        now, then = (torch.tensor(answer["tiny"][name]["scores"]) for answer in (found, kept))
        worst = max(worst, ((now - then).abs().max() / then.std()).item())
    if options.write:
        versions = [answer.pop("versions") for scale in found.values() for answer in scale.values()]
        digest = hashlib.sha256(b"".join(picture.tobytes() for picture in pictures)).hexdigest()
        content = {"seed": inputs.SEED, "pictures": digest, "weights": layouts.digest(), "versions": versions[0]}
        merged = {scale: {**kept.get(scale, {}), **found[scale]} for scale in found}
        COMMITTED.write_text(to_text({**kept, **content, **merged}))
    if not worst <= TOLERANCE:  # refuses NaN, too
        sys.exit(f"the largest difference is {worst:.1e} of the scores' spread, more than {TOLERANCE}")


def to_text(content: dict[str, Any]) -> str:
    """JSON with one line for every list of numbers, which have 9 significant digits."""
    rounded = json.loads(json.dumps(content), parse_float=lambda text: float(f"{float(text):.9g}"))
    text = json.dumps(rounded, indent=1)
    return re.sub(r"\[([^][{}]+)\]", lambda match: f"[{' '.join(match[1].split())}]", text) + "\n"


if __name__ == "__main__":
    main()
