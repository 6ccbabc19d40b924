"""``gradproj``: its verbs, its help, how it ends, what its messages tell a person to type, and the installed wheel."""

import ast
import errno
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from conftest import GRADPROJ, Gradproj

from gradproj import cli
from gradproj.cli import list as list_verb
from gradproj.errors import Incomplete, UserError
from gradproj.runs.environment import git_state

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gradproj"


def lightly(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The console command in a process that says at its end which of the heavy libraries were imported."""
    driver = (
        "import sys\nfrom gradproj.cli import main\ntry:\n    sys.exit(main(sys.argv[1:]))\nfinally:\n"
        "    print([name for name in ('torch', 'hydra', 'pandas') if name in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", driver, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


def test_help_has_a_line_a_verb_and_imports_nothing_heavy(tmp_path: Path) -> None:
    done = lightly(tmp_path, "--help")
    assert (done.returncode, done.stderr.strip()) == (0, "[]")
    assert set(re.findall(r"^  ([a-z-]+) +\S", done.stdout, re.MULTILINE)) - {"gradproj"} == set(cli.VERBS)
    files = {path.stem.replace("_", "-") for path in (PACKAGE / "cli").glob("*.py")}
    assert set(cli.VERBS) <= files
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", sorted({*cli.VERBS} - {"run", "plan"}))
def test_every_verb_explains_itself(verb: str, gradproj: Gradproj, tmp_path: Path) -> None:
    code, out, err = gradproj(verb, "--help", folder=tmp_path)
    assert (code, err) == (0, "") and f"usage: gradproj {verb}" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["plan", "doctor", "fetch", "verify"])
def test_a_verb_that_takes_a_runs_overrides_shows_them_and_does_no_more(
    verb: str, gradproj: Gradproj, tmp_path: Path
) -> None:
    code, out, err = gradproj(verb, "--cfg", "job", "steps=7", folder=tmp_path)
    assert (code, err) == (0, "") and "steps: 7" in out.splitlines() and out.count("steps: 7") == 1
    assert out.strip().endswith("tracker: null") and list(tmp_path.iterdir()) == []


def test_the_help_of_run_explains_every_key_and_lists_every_choice_without_torch(tmp_path: Path) -> None:
    done = lightly(tmp_path, "run", "--help")
    assert done.returncode == 0 and "torch" not in done.stderr
    config = yaml.safe_load((ROOT / "configs" / "config.yaml").read_text())
    keys = {key for key in config if key not in ("defaults", "hydra")}
    keys |= {"rewards", "model", "method", "protocol", "steps", "tracker"}
    explained = re.findall(r"^  ([a-z_/]+) +\S.*$", done.stdout.split("Keys")[1], re.MULTILINE)
    assert {key for words in explained for key in words.split("/")} == keys
    for group in ("model", "method", "rewards", "protocol"):
        listed = re.search(rf"^{group}: (.*)$", done.stdout, re.MULTILINE)
        assert listed
        assert sorted(listed[1].split(", ")) == sorted(path.stem for path in (ROOT / "configs" / group).glob("*.yaml"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("override", ["steps=0", "method=nothing", "prompts=nowhere.txt"])
def test_a_slip_is_told_without_torch(tmp_path: Path, override: str) -> None:
    done = lightly(tmp_path, "run", override)
    assert done.returncode == 2 and "'torch'" not in done.stderr and done.stderr.startswith("gradproj run: ")


@pytest.mark.parametrize("typed", ["--version", "-V"])
def test_the_version_has_commit_and_torch_without_importing_it(typed: str, tmp_path: Path) -> None:
    done = lightly(tmp_path, typed)
    assert (done.returncode, done.stderr.strip()) == (0, "[]")
    said = re.fullmatch(
        r"gradproj (\S+)(?: \(commit ([0-9a-f]{12})( with changes)?\))?, torch (\S+), Python (\S+)\n", done.stdout
    )
    assert said, done.stdout
    assert (said[1], said[4]) == (version("gradproj"), version("torch")) and said[5] == sys.version.split()[0]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    assert (said[2] or "") == head[:12]  # neither, where the tests run from an archive of the sources


def test_a_package_installed_inside_somebodys_checkout_has_no_commit(tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@e", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    inside = tmp_path / "site" / "gradproj"
    inside.mkdir(parents=True)
    (inside / "ours.py").touch()
    assert git_state(inside) == {"commit": None, "dirty": None}
    subprocess.run([*git, "add", "."], check=True)
    assert git_state(inside)["dirty"] is True
    assert git_state(inside, but=["site/gradproj/ours.py"])["dirty"] is False


def test_the_citation_and_the_template_name_what_there_is() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {"cff-version", "message", "title", "authors", "type", "license"} <= cited.keys()
    (paper,) = cited["references"]
    assert paper["url"].endswith(paper["identifiers"][0]["value"].removeprefix("arXiv:"))
    asked = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text(encoding="utf-8"))
    named = re.findall(r"gradproj (\S+?)[` ]", yaml.safe_dump(asked, width=10**6))
    assert {"doctor", "--version", "run"} <= set(named) <= {*cli.VERBS, "--version"}
    assert {part["id"] for part in asked["body"] if part["validations"]["required"]} >= {"command", "said", "machine"}


# --- how it ends


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (UserError("say another"), 2, "gradproj status: say another\n"),
        (Incomplete("3 of 4"), 1, "gradproj status: 3 of 4\n"),
        (KeyboardInterrupt(), 130, "gradproj status: stopped; what is recorded stays, and the same command goes on\n"),
        (BrokenPipeError(), 141, ""),
        (FileNotFoundError(errno.ENOENT, "No such file", "a/b"), 2, "gradproj status: No such file: a/b\n"),
        (OSError("cut short"), 2, "gradproj status: cut short\n"),
        *(
            (OSError(number, "full", "a/b"), 2, "gradproj status: no space left for a/b: make room")
            for number in cli.NO_ROOM
        ),
    ],
)
def test_what_a_person_can_act_on_is_a_line_and_a_code(
    gradproj: Gradproj, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int, said: str
) -> None:
    def fail(_: Any) -> int:
        raise raised

    monkeypatch.setattr(cli.importlib, "import_module", lambda _: SimpleNamespace(main=fail))
    monkeypatch.setattr(os, "dup2", lambda *_: None)  # the pipe of this process is whole
    found = gradproj("status")
    assert (found.code, found.out) == (code, "") and found.err.startswith(said)


def test_a_fault_of_the_program_keeps_its_traceback(gradproj: Gradproj, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.importlib, "import_module", lambda _: SimpleNamespace(main=lambda _: 1 // 0))
    with pytest.raises(ZeroDivisionError):
        gradproj("status")


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["prompts"]])
def test_a_closed_pipe_is_silent(arguments: list[str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*GRADPROJ, *arguments], cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (cli.CLOSED_PIPE, b"")


# --- what there is


def test_every_yaml_says_what_it_is_and_the_list_says_it(gradproj: Gradproj) -> None:
    code, out, _ = gradproj("list")
    assert code == 0
    for group in list_verb.GROUPS.values():
        for path in (ROOT / "configs" / group).glob("*.yaml"):
            (about,) = [line for line in path.read_text().splitlines() if line.startswith(list_verb.ABOUT)]
            assert re.search(rf"^  {path.stem} +{re.escape(about.removeprefix(list_verb.ABOUT))}$", out, re.MULTILINE)
    for path in (ROOT / "prompts").glob("*.txt"):
        assert re.search(rf"^  {path.stem} +{len(path.read_text().splitlines())} prompts", out, re.MULTILINE)


@pytest.mark.parametrize(("page", "group"), [("models", "model"), ("rewards", "rewards")])
def test_the_sizes_in_the_list_are_those_of_the_documentation(page: str, group: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text()
    for path in (ROOT / "configs" / group).glob("*.yaml"):
        size = re.search(r"# about: .*?([\d.]+) G(i?)B", path.read_text())
        if size:
            rows = [line for line in text.splitlines() if line.startswith(f"| `{path.stem}`")]
            assert any(f"| {size[1]}{'' if size[2] else ' GB'} |" in line for line in rows), path


# --- what messages tell a person to type


def texts(path: Path) -> Iterator[str]:
    """The strings of a file that are no docstrings; the whole of what is not Python."""
    if path.suffix != ".py":
        yield path.read_text(encoding="utf-8")
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            yield node.value


def test_messages_name_only_what_an_installed_wheel_has() -> None:
    """No script, no make, no module to run: verbs that exist."""
    targets = "|".join(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    elsewhere = re.compile(rf"scripts/|\bpython (-m|\S+\.py)|[`'\"]make ({targets})\b|gradproj-(?!run\b)[a-z]+ ")
    verb = re.compile(r"(?:type|: |`|&& |then |by |with )gradproj ([a-z][a-z-]*)")
    named = set()
    for path in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.js"), *PACKAGE.rglob("*.html")]:
        for text in texts(path):
            found = elsewhere.search(text)
            assert not found, f"{path.relative_to(ROOT)}: {text!r} names {found and found[0]!r}"
            named |= {(word, str(path)) for word in verb.findall(text)}
    assert {word for word, _ in named} <= set(cli.VERBS), named
    assert len(named) > 3  # the pattern still finds some


# --- installed


@pytest.mark.slow
def test_every_verb_works_from_an_installed_wheel_in_an_empty_folder(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    built = subprocess.run(
        [*pip, "wheel", ROOT, "--no-deps", "-w", tmp_path / "wheel"], capture_output=True, text=True, timeout=600
    )
    if "No matching distribution found for hatchling" in built.stderr:
        pytest.skip("hatchling cannot be fetched")
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    site, folder = tmp_path / "site", tmp_path / "work"
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True, capture_output=True)
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

    def typed(program: str, *arguments: object) -> str:
        command = [site / "bin" / program, *map(str, arguments)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout

    small = ("prompts=[a red ring,a blue square]", "steps=2")
    typed("gradproj-run", *small)
    (run,) = (folder / "results" / "runs").iterdir()
    assert "0 to do" in typed("gradproj", "run", *small) and "nothing to do" in typed("gradproj", "plan", *small)
    typed("gradproj", "run", *small, "method=none")
    line = "import gradproj; print(gradproj.improve('a red ring', steps=2)[0].kept.size)"
    python = [sys.executable, "-c", line]
    done = subprocess.run(python, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout) == (0, "(32, 32)\n"), done.stderr
    verbs = [("status",), ("replay", run, "0000-0"), ("table",), ("report",), ("pack", run), ("pack", "--unpack", run)]
    verbs += [("diversity", run), ("prompts",), ("list",), ("doctor",), ("doctor", "--quick", "-m", "method=none,ours")]
    verbs += [("fetch", "--list")]
    for verb in verbs:
        typed("gradproj", *verb)
    assert (folder / "results" / "report.html").exists()
