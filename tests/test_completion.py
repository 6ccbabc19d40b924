"""``gradproj completion bash``: what a real bash offers for what is typed so far."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gradproj import cli

ROOT = Path(__file__).parents[1]
ASK = """
eval "$(gradproj completion bash)"
COMP_LINE=$1 COMP_POINT=${#1}
read -ra COMP_WORDS <<< "$1"
_gradproj
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("gradproj re", {"replay", "report"}),
        ("gradproj ", set(cli.VERBS)),
        ("gradproj-run -m model=sd", {"sd_turbo", "sdxl_turbo"}),  # = parts words in bash: what follows it is offered
        ("gradproj plan method=reno method.w", {"method.weight="}),  # a key that this method alone has
        ("gradproj show x", set()),  # files are left to bash
    ],
)
def test_bash_offers_verbs_keys_and_choices(tmp_path: Path, typed: str, offered: set[str]) -> None:
    program = tmp_path / "gradproj"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m gradproj "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["bash", "--norc", "-c", ASK, "bash", typed]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert set(done.stdout.split()) == offered and done.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["gradproj"]
