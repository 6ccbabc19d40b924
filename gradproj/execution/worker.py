"""One worker's share of one run: make the parts, complete what is missing, score after it, say what came out.

Knows nothing of Hydra: ``settings`` are the plain dictionary that ``settings.check`` answers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gradproj.execution import devices, protocol, threads
from gradproj.execution.batches import complete as complete_batches
from gradproj.execution.compiled import warm_up, warmed_up
from gradproj.execution.destination import Destination, Records
from gradproj.execution.experiment import Experiment
from gradproj.execution.memory.peaks import Peaks
from gradproj.execution.memory.planner import Plan, plan
from gradproj.execution.missing import Missing
from gradproj.execution.profile import Profile, phase
from gradproj.execution.rehearsal import rehearse, try_reward
from gradproj.execution.rescore import rescore
from gradproj.execution.settings import keys
from gradproj.execution.settings.check import check
from gradproj.execution.settings.parts import check_parts, make, parts
from gradproj.execution.tracked import Tracked, tracker_of
from gradproj.pretrained.release import release
from gradproj.runs import progress, scores
from gradproj.runs.environment import describe, device_name, note_peaks
from gradproj.runs.folder import Run, run_id
from gradproj.runs.naming import LOOP, Share, config_of, named_settings, target


@dataclass(frozen=True)
class Outcome:
    """What a worker's command came to. Every count is of this worker's own images."""

    run: Run
    recorded: int
    failed: int  # not recorded yet: the same command tries them again
    given_up: int  # not recorded after max_retries + 1 attempts: the same command leaves them alone
    attempts: int  # the most attempts that one of the images given up has had

    @property
    def unfinished(self) -> str | None:
        """What is to be told where some images are not recorded, with what to type; None where all are."""
        told = []
        if self.failed:
            told.append(f"{self.failed} images failed, and the same command tries them again")
        if self.given_up:
            told.append(
                f"{self.given_up} images are given up after {self.attempts} attempts: "
                f"remove the cause, then type max_retries={self.attempts} to try them once more"
            )
        return "; ".join([*told, f"the reasons are in {self.run.images}/*.failed"]) if told else None


def complete(
    settings: dict[str, Any],
    prompts: Sequence[str],
    model: str,
    method: str,
    beside: Callable[[Records], Destination] = lambda records: records,
) -> Outcome:
    """Complete this worker's images of one run. ``model`` and ``method`` are the chosen YAML files' names.

    Where all are recorded no network is loaded. ``UserError`` for what the parts refuse, before anything is written.
    ``beside(records)`` may put another destination before the records, which hands on to them what it gets.
    """
    chosen = _plan(settings)
    if not any((Path(settings["results"]) / "runs").glob(f"{model}-*")):  # a finished run needs no room
        chosen.expect_room()
    experiment = _experiment(chosen.settings, prompts)
    settings, after = keys.split_rewards(chosen.settings)
    run = _run(experiment, settings, model, method)
    share = keys.images(settings, len(prompts))
    tracker, profile = tracker_of(settings), experiment.profile
    workers = f"-{settings['shard']}of{settings['shards']}" if settings["shards"] > 1 else ""
    with threads.chosen(settings["threads"], experiment.model.latent_shape):
        missing = _missing(run, share, settings["max_retries"], experiment.model.device)
        peaks = Peaks(experiment.model.device)
        compiled = _try(experiment, settings, after, len(missing), chosen, peaks) if missing else None
        run = _create(run, experiment, settings, min(settings["batch"], len(missing)), chosen, compiled)
        _set_damaged_aside(run, share)
        progress.ask(run, settings["seeds"], after, settings["max_retries"])
        destination = beside(Records(run, "latent" in settings["save"]))
        if tracker:
            destination = Tracked(destination, tracker, run, workers)
        try:
            with peaks("climb"), warmed_up(experiment, compiled):
                complete_batches(experiment, destination, missing, settings["batch"])
            del experiment
            release()  # the held-out rewards get the memory that the generator had
            with peaks("score"), phase(profile, "scoring"):
                _score_after(run, after, settings, share)
        finally:
            note_peaks(run.folder, peaks.bytes)
            if profile and missing:
                profile.write(run.folder / f"profile{workers}.csv")
                print(profile.table(), flush=True)
    return _outcome(run, share, settings["max_retries"])


def make_images(
    settings: dict[str, Any], prompts: Sequence[str], destination: Destination, late: Callable[[str, Any], None]
) -> None:
    """Make this worker's images as ``complete`` does, for ``destination`` alone: nothing is written.

    ``settings`` may have a part itself in place of a part's settings. ``late(name, reward)`` is called at the end with
    every reward of ``held_out=after``, one at a time.
    """
    chosen = _plan(settings)
    chosen.expect_room()
    experiment = _experiment(chosen.settings, prompts)
    settings, after = keys.split_rewards(chosen.settings)
    share = keys.images(settings, len(prompts))
    profile = experiment.profile
    with threads.chosen(settings["threads"], experiment.model.latent_shape):
        compiled = _try(experiment, settings, after, len(share), chosen, Peaks(experiment.model.device))
        with warmed_up(experiment, compiled):
            complete_batches(experiment, destination, Missing(share, ()), settings["batch"])
        del experiment
        release()
        with phase(profile, "scoring"):
            for name, node in after.items():
                late(name, make(node, f"rewards.{name}", settings["device"]))
    if profile:
        print(profile.table(), flush=True)


def _plan(settings: Mapping[str, Any]) -> Plan:
    """What is chosen for the memory of the GPU, of settings that are as their parts declare."""
    check_parts(settings)
    return plan(settings, devices.memory(settings["device"]))


def _try(
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
    with peaks("score"):
        for name, node in after.items():  # each is gone again before the generator comes
            try_reward(name, make(node, f"rewards.{name}", settings["device"]), experiment.prompts)
            release()
    batch = min(settings["batch"], images)
    rehearse(experiment, batch, peaks)
    if not settings["compile"]:
        return None
    with experiment.phase("compile"):
        return warm_up(experiment, [batch, images % batch or batch])


def _experiment(settings: Mapping[str, Any], prompts: Sequence[str]) -> Experiment:
    """All parts are made and checked, so that what they lack or refuse is told at once; those of the loop are kept."""
    made = parts(settings)
    check(made, settings, prompts)
    now = keys.split_rewards(settings)[0]["rewards"]
    made["rewards"] = {name: made["rewards"][name] for name in now}
    made["profile"] = Profile(made["model"].device) if settings["profile"] else None
    return Experiment(**made, target=target(settings), prompts=prompts, **{key: settings[key] for key in LOOP})


def _run(experiment: Experiment, settings: Mapping[str, Any], model: str, method: str) -> Run:
    """The run's folder, which may not be there yet: its name covers the weights' hashes, which the parts know."""
    everything = {"model": experiment.model, **experiment.rewards}
    weights = {name: protocol.weights(name, part) for name, part in everything.items()}
    config = config_of(model, method, list(experiment.target), settings)
    config |= {"prompts": list(experiment.prompts), "weights": weights}
    folder = Path(settings["results"]) / "runs" / run_id(config)
    return Run.open(folder) if (folder / "config.yaml").exists() else Run(folder, config)


def _missing(run: Run, share: Share, retries: int, device: torch.device) -> Missing:
    """The images of ``share`` to do; says how many, where and on what."""
    found = run.scan()
    run.refuse_strangers(found)
    recorded = {image for image in found.recorded if image in share}
    given_up = {image for image, lines in progress.failures(run).items() if image in share and len(lines) > retries}
    missing = Missing(share, recorded | given_up)
    here = f"on {device_name(device)} ({device}), threads={torch.get_num_threads()}"
    print(f"{run.folder}: {len(recorded)} of {len(share)} images recorded, {len(missing)} to do, {here}", flush=True)
    if given_up:
        print(f"{len(given_up)} that failed {retries + 1} times or more are given up and left alone", flush=True)
    return missing


def _create(
    run: Run,
    experiment: Experiment,
    settings: Mapping[str, Any],
    batch: int,
    chosen: Plan,
    compiled: Mapping[str, Any] | None,
) -> Run:
    """The folder made, or found. ``batch`` images are made side by side, ``compiled`` or not; a replay repeats both."""
    facts = describe(experiment.model.device) | {"batch": batch, "shards": settings["shards"]}
    facts |= {"weights": run.config["weights"], "model": settings["model"], "memory": chosen.facts, "compile": compiled}
    return Run.create(Path(settings["results"]), run.config, facts)


def _set_damaged_aside(run: Run, share: Share) -> None:
    """Damaged records of this worker's images make room for those that are made again."""
    damaged = [image for image in sorted(run.scan().damaged) if image in share]
    for image in damaged:
        run.set_aside(image)
    if damaged:
        there = f"{run.images}/*.damaged"
        print(
            f"{len(damaged)} damaged records ({damaged[0]}, ...) are moved aside to {there} and made again", flush=True
        )


def _score_after(run: Run, after: Mapping[str, Any], settings: Mapping[str, Any], share: Share) -> None:
    """The rewards of ``held_out=after``, one after another, from the saved pictures of this worker's images."""
    for path in scores.set_damaged_aside(run):
        print(f"a damaged file of scores was moved aside: {path}", flush=True)
    recorded = {image for image in run.recorded() if image in share}
    for name in scores.unscored(run, after, recorded):
        reward = make(after[name], f"rewards.{name}", settings["device"])
        rescore(run, name, reward, named_settings(after[name]), settings["batch"], recorded)
        del reward
        release()


def _outcome(run: Run, share: Share, retries: int) -> Outcome:
    attempts = [len(lines) for image, lines in progress.failures(run).items() if image in share]
    given_up = [count for count in attempts if count > retries]
    recorded = sum(image in share for image in run.recorded())
    return Outcome(run, recorded, len(attempts) - len(given_up), len(given_up), max(given_up, default=0))
