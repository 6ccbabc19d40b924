"""docs/security.md: what is refused, and that every test which the page names is there."""

import ast
import io
import re
import tarfile
from pathlib import Path

import pytest
import yaml
from conftest import Gradproj
from faults import work

from gradproj.errors import UserError
from gradproj.execution.settings.compose import unknown_code
from gradproj.runs.folder import Run, run_id
from gradproj.runs.naming import ImageId
from gradproj.runs.packing import unpack

ROOT = Path(__file__).parents[1]
FOREIGN = """
from pathlib import Path
from gradproj.methods.none import method
Path(__file__).with_name("called").touch()
"""


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of one image, whose method is ``foreign.method``."""
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "foreign.py").write_text(FOREIGN)
    settings = ("prompts=[a red ring]", "rewards=[shapes_aesthetic]", "seeds=1", "steps=1", "threads=1")
    made = work(folder / "made", *settings, method="none").run
    config = made.config | {"method": made.config["method"] | {"_target_": "foreign.method"}}
    run = Run.create(folder, config, {"batch": 1, "threads": 1})
    table, image = made.table(ImageId(0, 0)), ImageId(0, 0)
    rows = [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
    run.write(image, rows, {})
    for kind, path in made.pictures(image).items():
        run.pictures(image)[kind].write_bytes(path.read_bytes())
    assert Run.open(run.folder).folder.name == run_id(config)
    return run


def test_a_foreign_runs_code_is_not_called(foreign: Run, gradproj: Gradproj, monkeypatch: pytest.MonkeyPatch) -> None:
    results, called = foreign.folder.parents[1], foreign.folder.parents[1] / "called"
    monkeypatch.syspath_prepend(str(results))
    code, _, err = gradproj("replay", foreign.folder, "0000-0")
    assert code == 2 and "method._target_=foreign.method" in err
    assert f"gradproj replay {foreign.folder} 0000-0 --trust" in err
    assert gradproj("score", "shapes_matcher", foreign.folder).code == 0  # makes the reward that was typed, no other
    assert gradproj("status", results).code == 0  # what reads records imports nothing that makes parts: test_floors.py
    assert not called.exists()
    code, out, err = gradproj("replay", foreign.folder, "0000-0", "--trust")
    assert code == 0, out + err
    assert called.exists()


@pytest.mark.parametrize(
    "target",
    ["os.system", "gradproj.models.flux.torch.hub.load", "torch.optim.adam.torch.hub.load", "torch.load", "gradproj"],
)
def test_a_path_through_gradproj_or_torch_to_something_else_is_not_known(target: str) -> None:
    config = {"rewards": {"mine": {"inner": [{"_target_": target}]}}}
    assert list(unknown_code(config)) == [f"rewards.mine.inner.0._target_={target}"]


def test_what_gradproj_brings_is_known() -> None:
    files = [path for group in ("model", "method", "rewards") for path in (ROOT / "configs" / group).glob("*.yaml")]
    assert len(files) > 10
    for path in files:
        assert not list(unknown_code(yaml.safe_load(path.read_text()))), path


def test_no_remote_code_and_no_open_pickle() -> None:
    loads = 0
    for path in (ROOT / "gradproj").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword):
                assert node.arg != "trust_remote_code", path
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            called = ast.unparse(node.func)
            assert not re.fullmatch(r"(pickle|joblib|dill|marshal|shelve)\.(load|loads|open|Unpickler)", called), path
            given = {one.arg: ast.unparse(one.value) for one in node.keywords}
            if called == "torch.load":
                loads += 1
                assert given["weights_only"] == "True", path
            assert not (called in ("np.load", "numpy.load") and given.get("allow_pickle", "False") != "False"), path
            assert called not in ("yaml.load", "yaml.unsafe_load", "yaml.full_load"), path
    assert loads >= 2


@pytest.mark.parametrize("kind", ["outside", "absolute", "link"])
def test_an_archive_writes_nothing_outside_of_its_run(foreign: Run, tmp_path: Path, kind: str) -> None:
    run = Run.create(tmp_path / "results", foreign.config, {})
    name = {"outside": "../../../x.csv", "absolute": f"{tmp_path}/x.csv", "link": "images/0000-0.csv"}[kind]
    content = foreign.record(ImageId(0, 0)).read_bytes()
    with tarfile.open(run.folder / "records.tar.xz", "w:xz") as archive:
        member = tarfile.TarInfo(name)
        if kind == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "../../../x.csv"
        else:
            member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    if kind == "link":
        assert unpack(run) == 0
    else:
        with pytest.raises(UserError, match="not called <prompt id>-<seed>"):
            unpack(run)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} <= before


def test_every_test_that_the_page_names_is_there() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    named = re.findall(r"`(test_\w+\.py):\s+(test_\w+)`", page)
    assert len(named) >= 10 and page.count("`test_") == len(named) + page.count("`test_records.py`")
    for file, function in named:
        assert f"def {function}(" in (ROOT / "tests" / file).read_text(), f"{file}: {function}"
