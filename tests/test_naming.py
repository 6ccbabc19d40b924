"""The names of runs and images against json, yaml and a count of the variants."""

import json
import random
import re
from typing import Any

import numpy as np
import pytest
import yaml
from small_runs import ODD_STRINGS, PROMPTS, config, leaves, replaced

from gradproj.runs.naming import ImageId, fingerprint


def test_what_means_the_same_has_the_same_eight_hex_digits() -> None:
    """Whole numbers and floats of the same value, lists and tuples, and keys in any order."""

    def backwards(node: Any) -> Any:
        return {k: backwards(v) for k, v in reversed(node.items())} if isinstance(node, dict) else node

    assert re.fullmatch(r"[0-9a-f]{8}", fingerprint(config()))
    assert list(backwards(config())) != list(config())
    assert fingerprint(backwards(config())) == fingerprint(config())
    for path, value in leaves(config()):
        if isinstance(value, int) and not isinstance(value, bool):
            assert fingerprint(replaced(config(), path, float(value))) == fingerprint(config())
    assert fingerprint({"a": (1, [2.0])}) == fingerprint({"a": [1.0, (2,)]})


def test_whatever_changes_changes_the_fingerprint() -> None:
    """Every leaf, a key more or less, and the order of a list."""
    smaller = config()
    del smaller["keep"]
    variants = [config(), smaller, config(more=None), config(prompts=PROMPTS[::-1])]
    for path, value in leaves(config()):
        others = ["other", 17, 0.5, True, False, None, "1", [], {}, [value], {"value": value}, f"{value}", f"{value} "]
        if isinstance(value, float):
            others += [np.nextafter(value, 1).item(), -value]
        variants += [replaced(config(), path, other) for other in others]
    different = {json.dumps(variant) for variant in variants}
    assert len(different) > 150
    assert len({fingerprint(variant) for variant in variants}) == len(different)


@pytest.mark.parametrize("seed", range(5))
def test_the_fingerprint_outlives_yaml_and_json(seed: int) -> None:
    rng = random.Random(seed)

    def draw(depth: int) -> Any:
        if depth and rng.random() < 0.6:
            items = [draw(depth - 1) for _ in range(rng.randrange(4))]
            return items if rng.random() < 0.5 else {rng.choice(ODD_STRINGS) + str(i): x for i, x in enumerate(items)}
        number = rng.gauss(0, 1) * 10.0 ** rng.randint(-30, 30)
        return rng.choice(
            [rng.choice(ODD_STRINGS), number, rng.randint(-(10**9), 10**9), True, False, None, 1e16, 1e-5]
        )

    drawn = {"everything": [draw(4) for _ in range(10)], "strings": list(ODD_STRINGS)}
    written = yaml.safe_dump(drawn, sort_keys=False, allow_unicode=True)
    assert fingerprint(yaml.safe_load(written)) == fingerprint(drawn)
    assert fingerprint(json.loads(json.dumps(drawn))) == fingerprint(drawn)


@pytest.mark.parametrize("text", ["3-1", "0003", "0003-1-2", "00003-1", "0003-01", "0003--1", "x", "", "٠٠٠٣-1"])
def test_an_image_has_one_name_and_no_other_text_is_one(text: str) -> None:
    for image in (ImageId(3, 1), ImageId(12345, 10**9)):
        assert ImageId.parse(str(image)) == image
    assert (str(ImageId(3, 1)), str(ImageId(12345, 0))) == ("0003-1", "12345-0")
    with pytest.raises(ValueError, match="0003-1"):
        ImageId.parse(text)
