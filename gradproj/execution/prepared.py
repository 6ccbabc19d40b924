"""Before the first image: memory is planned and every part is made and tried, so that what does not fit is told."""

from collections.abc import Mapping, Sequence
from typing import Any

from gradproj.execution import devices
from gradproj.execution.compiled import warm_up
from gradproj.execution.experiment import Experiment
from gradproj.execution.memory.peaks import Peaks
from gradproj.execution.memory.planner import Plan, plan
from gradproj.execution.profile import Profile
from gradproj.execution.rehearsal import rehearse, try_reward
from gradproj.execution.settings import keys
from gradproj.execution.settings.check import check
from gradproj.execution.settings.parts import check_parts, make, parts
from gradproj.pretrained.release import release
from gradproj.runs.naming import LOOP, target


def planned(settings: Mapping[str, Any]) -> Plan:
    """What is chosen for the memory of the GPU, of settings that are as their parts declare."""
    check_parts(settings)
    return plan(settings, devices.memory(settings["device"]))


def made(settings: Mapping[str, Any], prompts: Sequence[str]) -> Experiment:
    """All parts are made and checked, so that what they lack or refuse is told at once; those of the loop are kept."""
    found = parts(settings)
    check(found, settings, prompts)
    now = keys.split_rewards(settings)[0]["rewards"]
    found["rewards"] = {name: found["rewards"][name] for name in now}
    found["profile"] = Profile(found["model"].device) if settings["profile"] else None
    return Experiment(**found, target=target(settings), prompts=prompts, **{key: settings[key] for key in LOOP})


def tried(
    experiment: Experiment,
    settings: Mapping[str, Any],
    after: Mapping[str, Any],
    images: int,
    chosen: Plan,
    peaks: Peaks,
) -> dict[str, Any] | None:
    """``UserError`` where a GPU lacks, or a part cannot take its input, before the first of ``images``.

    Answers what came of compiling, None where it was not asked for.
    """
    devices.expect_gpu(experiment.model, settings["device"])
    chosen.expect_room()
    if chosen.said:
        print(chosen.said, flush=True)
    with peaks("score"), experiment.phase("load"):
        for name, node in after.items():  # each is gone again before the generator comes
            try_reward(name, make(node, f"rewards.{name}", settings["device"]), experiment.prompts)
            release()
    batch = min(settings["batch"], images)
    rehearse(experiment, batch, peaks)
    if not settings["compile"]:
        return None
    with experiment.phase("compile"):
        return warm_up(experiment, [batch, images % batch or batch])
