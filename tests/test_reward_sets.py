"""Which rewards are scored when only the target is named."""

from pathlib import Path

import pytest
from conftest import CONFIGS, Gradproj

from gradproj.execution.settings.overrides import choose_rewards


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """A rewards folder with two sets of three and one loner."""
    files = {name: f"# @package rewards.{name}\n_target_: somewhere.{name}\n" for name in "abcdefx"}
    files |= {"big": "defaults:\n  - a\n  - b\n  - c\n", "small": "# why\ndefaults:\n  - d\n  - e\n  - f\n"}
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("reward=a", "big"),
        ("reward=e", "small"),
        ("reward='e'", "small"),
        ('reward="e"', "small"),
        ("+reward=e", "small"),
        ("++reward=e", "small"),
        ("reward={a: 1, b: 2}", "big"),
        ("reward={a:5,b:1e-3}", "big"),
        ("reward={d: -1.5e+2, f: .1}", "small"),
        ("reward=d,e", "small"),
        ("reward=choice(d,e)", "small"),
        ("reward={d: 1, nothing: 2}", "small"),
        ("reward=a,e", None),
        ("reward={a: 1, e: 2}", None),
        ("reward=x", None),
        ("reward=nothing", None),
        ("reward=", None),
        ("reward=3", None),
        ("reward=null", None),
        ("reward.a=1", None),
    ],
)
def test_the_set_that_has_the_target_is_scored(sets: Path, target: str, found: str | None) -> None:
    chosen = [f"rewards={found}"] if found else []
    for others in ([], ["steps=3"], ["rewards.a.size=3"], ["+rewards.a.size=3"], ["-m"], ["model=flux", "seeds=2"]):
        arguments = choose_rewards([*others, target], sets)
        assert sorted(arguments) == sorted([*others, target, *chosen])
        assert [one for one in arguments if one not in chosen] == [*others, target]


@pytest.mark.parametrize("said", ["rewards=big", "rewards=[a,e]", "+rewards=x", "rewards=", "rewards='big'"])
def test_what_is_said_to_be_scored_stays(sets: Path, said: str) -> None:
    for arguments in ([said, "reward=e"], ["reward=e", "rewards.e.size=1", said], [said]):
        assert choose_rewards(arguments, sets) == arguments


@pytest.mark.parametrize("arguments", [[], ["--help"], ["rewards.e.size=1"], ["method=ours", "-m"]])
def test_without_a_target_nothing_is_chosen(sets: Path, arguments: list[str]) -> None:
    assert choose_rewards(arguments, sets) == arguments


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("shapes_rendering", "shapes"),
        ("hpsv2", "paper"),
        ("{hpsv2: 5e0, imagereward: 1e-3}", "paper"),
        ("clip", "reno"),
    ],
)
def test_the_sets_of_this_project(target: str, found: str | None) -> None:
    chosen = choose_rewards([f"reward={target}"], CONFIGS / "rewards")
    assert set(chosen) - {f"reward={target}"} == ({f"rewards={found}"} if found else set())


@pytest.mark.parametrize("after", [["--cfg", "job"], ["-c", "job"], ["--cfg=job", "--resolve"]])
def test_options_after_the_target_are_still_understood(tmp_path: Path, gradproj: Gradproj, after: list[str]) -> None:
    code, out, _ = gradproj("run", "steps=3", "reward=hpsv2", *after, folder=tmp_path)
    assert code == 0 and "pickscore:" in out
