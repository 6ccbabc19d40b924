"""What the person typed: every refusal says what was expected, what came and what to type, and its advice works."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from gradproj.errors import UserError
from gradproj.execution.settings import keys
from gradproj.execution.settings.prompts import read_prompts

PROMPTS = Path(__file__).parents[1] / "prompts"
Compose = Callable[..., DictConfig]


def refusal(config: DictConfig) -> str:
    with pytest.raises(UserError) as error:
        keys.check(config)
    return str(error.value)


def read_refusal(prompts: Any, folder: Path = PROMPTS) -> str:
    with pytest.raises(UserError) as error:
        read_prompts(prompts, folder)
    return str(error.value)


def advice(message: str) -> str:
    """The override that a message tells one to type, as the shell would pass it on."""
    found = re.search(r"type (\w+=\S+)$|add it: ('\w+=.*')$", message)
    assert found, message
    return shlex.split(found[1] or found[2])[0]


# --- the values


def test_what_is_said_nowhere_passes_and_comes_back_plain(compose: Compose) -> None:
    config = compose()
    plain = keys.check(config)
    assert type(plain) is dict and type(plain["method"]) is dict
    assert plain == OmegaConf.to_container(config, resolve=True)
    assert "${" not in str(plain)


@pytest.mark.parametrize(
    ("key", "least"),
    [("steps", 1), ("seeds", 1), ("batch", 1), ("shards", 1), ("shard", 0), ("score_every", 1), ("max_skips", 1)],
)
@pytest.mark.parametrize("bad", ["BELOW", "-5", "1.5", "2.0", "true", "null", "many", "'3'", "[x]", "1e3"])
def test_a_count_that_is_none_is_refused_and_the_advice_works(compose: Compose, key: str, least: int, bad: str) -> None:
    others = ["shards=2"] if key == "shard" else []
    config = compose(f"{key}={least - 1 if bad == 'BELOW' else bad}", *others)
    message = refusal(config)
    assert key in message and f"at least {least}" in message and f"got {config[key]!r}" in message
    assert keys.check(compose(*others, advice(message)))[key] >= least


@pytest.mark.parametrize("key", ["steps", "seeds", "batch", "shards", "score_every", "max_skips"])
def test_the_least_count_is_allowed(compose: Compose, key: str) -> None:
    assert keys.check(compose(f"{key}=1"))[key] == 1


def test_seeds_may_be_a_list_of_different_ones(compose: Compose) -> None:
    assert keys.check(compose("seeds=[1,2,3,4]"))["seeds"] == [1, 2, 3, 4]
    assert list(keys.images(keys.check(compose("seeds=[7,0]")), 2)) == [(0, 7), (0, 0), (1, 7), (1, 0)]
    for bad in ("[]", "[1,1]", "[-1]", "[1.5]", "[one]", "[1000000000000000]"):
        assert refusal(compose(f"seeds={bad}")).startswith("seeds must be")


@pytest.mark.parametrize(("shard", "shards"), [(1, 1), (3, 3), (4, 3)])
def test_a_shard_beyond_the_last_is_refused(compose: Compose, shard: int, shards: int) -> None:
    message = refusal(compose(f"shard={shard}", f"shards={shards}"))
    assert f"shards={shards}" in message and f"got {shard}" in message and "count from 0" in message
    assert keys.check(compose(f"shard={shards - 1}", f"shards={shards}"))


@pytest.mark.parametrize("bad", ["first", "Best", "null", "1", "[best]"])
def test_an_unknown_keep_is_refused_and_the_advice_works(compose: Compose, bad: str) -> None:
    message = refusal(compose(f"keep={bad}"))
    assert "last or best" in message and repr(compose(f"keep={bad}").keep) in message
    assert keys.check(compose(advice(message)))


@pytest.mark.parametrize("bad", ["{}", "null", "3", "[shapes_aesthetic]"])
def test_a_target_that_is_neither_name_nor_mix_is_refused_with_a_mix_that_works(compose: Compose, bad: str) -> None:
    config = compose(f"reward={bad}")
    message = refusal(config)
    assert f"got {config.reward!r}" in message
    mix = re.search(r"such as '(\{.*?\})'", message)
    assert mix
    plain = keys.check(compose(f"reward={mix[1]}", "rewards=shapes"))
    assert len(plain["reward"]) == 2 and all(isinstance(weight, int) for weight in plain["reward"].values())


@pytest.mark.parametrize("weight", ["a", "true", "null", "[1]", "'2'"])
def test_a_mix_with_a_weight_that_is_no_number_is_refused(compose: Compose, weight: str) -> None:
    message = refusal(compose(f"reward={{shapes_aesthetic: 1, shapes_matcher: {weight}}}"))
    assert "mix such as" in message and "shapes_matcher" in message.split("got", 1)[1]


@pytest.mark.parametrize("weight", ["2", "-0.5", "1e-3"])
def test_a_mix_with_numbers_passes(compose: Compose, weight: str) -> None:
    plain = keys.check(compose(f"reward={{shapes_aesthetic: 1, shapes_matcher: {weight}}}"))
    assert plain["reward"] == {"shapes_aesthetic": 1, "shapes_matcher": float(weight)}


@pytest.mark.parametrize("target", ["nothing", "{shapes_aesthetic: 1, nothing: 2}"])
def test_an_unknown_reward_is_refused_with_the_known_ones(compose: Compose, target: str) -> None:
    config = compose(f"reward={target}")
    message = refusal(config)
    assert "reward=nothing" in message
    for name in config.rewards:
        assert name in message


def test_climbing_what_is_not_scored_is_refused_and_the_advice_works(compose: Compose) -> None:
    overrides = ["rewards=[shapes_aesthetic,shapes_heldout]", "reward=shapes_matcher"]
    message = refusal(compose(*overrides))
    added = compose(overrides[1], advice(message))
    assert list(keys.check(added)["rewards"]) == ["shapes_aesthetic", "shapes_heldout", "shapes_matcher"]


def test_a_reference_to_nowhere_is_said(compose: Compose) -> None:
    message = refusal(compose("method.block=${nowhere}"))
    assert "does not resolve" in message and "nowhere" in message


def test_a_missing_value_is_said(compose: Compose) -> None:
    assert "steps" in refusal(compose("steps=???"))


# --- the prompts


def test_a_list_is_taken_as_it_is() -> None:
    given = ["a red ring", 'with "quotes", commas', "è 🟥", "twice", "twice"]
    assert read_prompts(given, PROMPTS) == given


@pytest.mark.parametrize("name", sorted(path.stem for path in PROMPTS.glob("*.txt")))
def test_a_named_set_is_the_lines_of_its_file_in_order(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)  # the working directory does not matter
    with (PROMPTS / f"{name}.txt").open(encoding="utf-8") as file:
        expected = [line.rstrip("\n") for line in file]
    assert read_prompts(name, PROMPTS) == expected
    assert len(set(expected)) == len(expected)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_position_in_a_file_is_the_prompt_id_whatever_ends_the_lines(tmp_path: Path, end: str, last: bool) -> None:
    prompts = ["b", "a", 'say "hi", twice', "é ☃", "a"]
    (tmp_path / "mine.txt").write_bytes((end.join(prompts) + end * last).encode())
    assert read_prompts(str(tmp_path / "mine.txt"), PROMPTS) == prompts


@pytest.mark.parametrize("before", [0, 1, 17])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_file_that_is_not_utf8_is_refused_with_the_place(tmp_path: Path, before: int, encoding: str) -> None:
    file = tmp_path / "mine.txt"
    file.write_bytes(b"x" * before + "é\n".encode(encoding))
    message = read_refusal(str(file))
    assert str(file) in message and f"at byte {before} " in message.replace(")", " ").replace(";", " ")
    assert "save it as UTF-8" in message


@pytest.mark.parametrize("content", [b"", None])
def test_no_prompt_at_all_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "mine.txt"
    if content is not None:
        file.write_bytes(content)
    message = read_refusal(str(file) if content is not None else [])
    assert "holds no prompt" in message and "one per line" in message
    assert (str(file) if content is not None else "prompts=") in message


@pytest.mark.parametrize("blank", ["", "   ", "\t"])
@pytest.mark.parametrize("line", [1, 2, 4])
def test_a_blank_line_is_refused_with_its_number(tmp_path: Path, blank: str, line: int) -> None:
    prompts = ["a", "b", "c"]
    prompts.insert(line - 1, blank)
    file = tmp_path / "mine.txt"
    file.write_text("\n".join(prompts) + "\n")
    for given, source in ((str(file), str(file)), (prompts, "prompts=")):
        message = read_refusal(given)
        assert source in message and f"prompt {line} is blank" in message and "remove" in message


@pytest.mark.parametrize("kind", ["missing", "folder", "under a file"])
def test_what_cannot_be_read_is_refused_with_the_sets_there_are(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("a")
    given = str({"missing": tmp_path / "nowhere", "folder": tmp_path, "under a file": tmp_path / "file" / "x"}[kind])
    message = read_refusal(given)
    assert f"prompts={given}" in message
    assert [word for word in re.split(r"[\s,]+", message.split("the sets are")[1]) if word] == sorted(
        path.stem for path in PROMPTS.glob("*.txt")
    )


def test_a_sentence_typed_without_brackets_is_refused_like_a_missing_file() -> None:
    assert "no such set" in read_refusal("a red ring")


def test_a_long_sentence_typed_without_brackets_is_refused_like_a_missing_file() -> None:
    assert "no such set" in read_refusal("a red ring and " * 30)
