"""``gradproj completion``: what a real bash and a real zsh offer for what is typed so far."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gradproj import cli

ROOT = Path(__file__).parents[1]
BASH = """
eval "$(gradproj completion bash)"
COMP_LINE=$1 COMP_POINT=${#1}
read -ra COMP_WORDS <<< "$1"
_gradproj
printf '%s\\n' "${COMPREPLY[@]}"
"""
# zsh completes at a terminal only: compadd, to which its own filter is left, and _files are stood in for
ZSH = """
compadd() { local one; for one in "${@[$@[(i)--]+1,-1]}"; do [[ $one = "$PREFIX"* ]] && print -r -- "$one"; done }
_files() { }
compdef() { }
eval "$(gradproj completion zsh)"
words=("${(@s: :)1}") CURRENT=$#words PREFIX=${words[-1]}
_gradproj
"""
SHELLS = [("bash", ["--norc", "-c", BASH, "bash"]), ("zsh", ["-f", "-c", ZSH, "zsh"])]


@pytest.mark.parametrize(("shell", "arguments"), SHELLS, ids=["bash", "zsh"])
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
def test_the_shell_offers_verbs_keys_and_choices(
    tmp_path: Path, typed: str, offered: set[str], shell: str, arguments: list[str]
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    program = tmp_path / "gradproj"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m gradproj "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [shell, *arguments, typed], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    expected = {f"model={name}" if "model=" in typed and shell == "zsh" else name for name in offered}
    assert set(done.stdout.split()) == expected and done.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["gradproj"]
