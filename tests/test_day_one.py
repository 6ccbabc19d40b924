"""docs/day-one.md, typed line by line: the miniature's as they stand, FLUX's on small networks in the published layout.

What a line cannot do without stands in its comment. Only what is no gradproj command is left out, and what needs the
Inception's own weights.
"""

import hashlib
import re
import shlex
from pathlib import Path
from typing import Any

import published_hub
import pytest
from conftest import Gradproj
from fake_hub import FakeHub
from published_hub import coming

from gradproj.diversity.features import inception
from gradproj.execution.doctor import machine

PAGE = Path(__file__).parents[1] / "docs" / "day-one.md"
LEFT_OUT = ("git clone", "make run", "source ", "hf auth login", "export ", "gradproj diversity")
made, hub = published_hub.made, published_hub.hub


def lines() -> list[str]:
    """The page's commands, without their comments, in order."""
    blocks = re.findall(r"(?:^    \S.*\n)+", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [line.strip() for block in blocks for line in block.splitlines()]


def test_what_is_left_out_says_what_it_needs() -> None:
    assert len(lines()) > 15
    for line in lines():
        if line.startswith(LEFT_OUT[0]) or not line.startswith("gradproj "):
            assert line.startswith(LEFT_OUT), line
        if "model=flux" in line or "run -m" in line or line.startswith(("gradproj replay", "gradproj diversity")):
            assert "# needs the " in line, line


def test_every_command_goes_through(
    hub: FakeHub, made: Any, gradproj: Gradproj, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = b"an inception"
    hub.add("owner/inception", {"inception.safetensors": content}, "0" * 40)
    url = f"{hub.url}/owner/inception/resolve/{'0' * 40}/inception.safetensors"
    monkeypatch.setattr(inception, "URL_INCEPTION_V3", url)
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(machine.os, "sysconf", lambda _: 2**19)  # 256 GiB of RAM
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    small = [*made[1], "prompts=[a red ring]", "steps=2", "batch=1", "device=cpu"]
    where = [word for word in small if ".source." in word]
    for line in lines():
        if line.startswith(LEFT_OUT):
            continue
        _, verb, *words = shlex.split(line, comments=True)
        if verb in ("fetch", "doctor", "verify", "run", "plan") and "model=shapes" not in words:
            words += small
        if verb == "replay":
            (first, *_) = sorted((tmp_path / "results" / "runs").glob("flux-ours-*"))
            words = [word.replace("RUN", first.name) for word in words] + [*where, "device=cpu"]
        said = gradproj(verb, *words, folder=tmp_path)
        assert said.code == 0, (line, said.out, said.err)
        if verb == "fetch" and "--list" in words:
            assert not sum(hub.sent.values())
    assert sum(hub.sent.values()) == coming(hub) + len(content), "everything once"
    assert (tmp_path / "results" / "report.html").exists()
