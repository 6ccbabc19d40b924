"""What tables call the climbed reward: never a reward's own name for a weighted one."""

import pytest

from gradproj.runs.naming import target, target_label


@pytest.mark.parametrize(
    ("reward", "label", "weights"),
    [
        ("clip", "clip", {"clip": 1.0}),
        ({"clip": 1}, "clip", {"clip": 1.0}),
        ({"clip": 5}, "5*clip", {"clip": 5.0}),
        ({"clip": 0.01, "hpsv2": 1}, "0.01*clip+hpsv2", {"clip": 0.01, "hpsv2": 1.0}),
        ({"clip": 1.0, "hpsv2": -2.5}, "clip-2.5*hpsv2", {"clip": 1.0, "hpsv2": -2.5}),
    ],
)
def test_a_weighted_reward_has_its_weight_in_its_name(reward, label: str, weights: dict[str, float]) -> None:
    assert (target_label({"reward": reward}), target({"reward": reward})) == (label, weights)
