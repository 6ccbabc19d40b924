"""One worker's share of one run: complete what is missing, score after it, say what came out.

Knows nothing of Hydra: ``settings`` are the plain dictionary that ``settings.check`` answers.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gradproj.execution import protocol, threads
from gradproj.execution.batches import complete as complete_batches
from gradproj.execution.compiled import warmed_up, works
from gradproj.execution.destination import Destination, Records
from gradproj.execution.experiment import Experiment
from gradproj.execution.memory.peaks import Peaks
from gradproj.execution.memory.planner import Plan
from gradproj.execution.missing import Missing
from gradproj.execution.outcome import Outcome, outcome
from gradproj.execution.prepared import made, planned, tried
from gradproj.execution.profile import phase
from gradproj.execution.rescore import rescore
from gradproj.execution.settings import keys
from gradproj.execution.settings.parts import make
from gradproj.execution.tracked import Tracked, tracker_of
from gradproj.pretrained.release import release
from gradproj.runs import progress, scores
from gradproj.runs.environment import describe, device_name, note_peaks
from gradproj.runs.folder import Run, run_id
from gradproj.runs.naming import Share, config_of, named_settings


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
    chosen = planned(settings)
    if not any((Path(settings["results"]) / "runs").glob(f"{model}-*")):  # a finished run needs no room
        chosen.expect_room()
    experiment = made(chosen.settings, prompts)
    settings, after = keys.split_rewards(chosen.settings)
    run = _run(experiment, settings, model, method)
    share = keys.images(settings, len(prompts))
    tracker, profile = tracker_of(settings), experiment.profile
    workers = f"-{settings['shard']}of{settings['shards']}" if settings["shards"] > 1 else ""
    with threads.chosen(settings["threads"], experiment.model.latent_shape):
        missing = _missing(run, share, settings["max_retries"], experiment.model.device)
        peaks = Peaks(experiment.model.device)
        compiled = tried(experiment, settings, after, len(missing), chosen, peaks) if missing else None
        run = _create(run, experiment, settings, min(settings["batch"], len(missing)), chosen, compiled)
        _set_damaged_aside(run, share)
        progress.ask(run, settings["seeds"], after, settings["max_retries"])
        facts = {"compiled": True} if works(compiled) else {}
        destination = beside(Records(run, "latent" in settings["save"], facts))
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
    return outcome(run, share, settings["max_retries"])


def make_images(
    settings: dict[str, Any], prompts: Sequence[str], destination: Destination, late: Callable[[str, Any], None]
) -> None:
    """Make this worker's images as ``complete`` does, for ``destination`` alone: nothing is written.

    ``settings`` may have a part itself in place of a part's settings. ``late(name, reward)`` is called at the end with
    every reward of ``held_out=after``, one at a time.
    """
    chosen = planned(settings)
    chosen.expect_room()
    experiment = made(chosen.settings, prompts)
    settings, after = keys.split_rewards(chosen.settings)
    share = keys.images(settings, len(prompts))
    profile = experiment.profile
    with threads.chosen(settings["threads"], experiment.model.latent_shape):
        compiled = tried(experiment, settings, after, len(share), chosen, Peaks(experiment.model.device))
        with warmed_up(experiment, compiled):
            complete_batches(experiment, destination, Missing(share, ()), settings["batch"])
        del experiment
        release()
        with phase(profile, "scoring"):
            for name, node in after.items():
                late(name, make(node, f"rewards.{name}", settings["device"]))
    if profile:
        print(profile.table(), flush=True)


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
    """The folder made, or found as another command made it. ``batch`` images are made side by side, as in a replay."""
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
    if not after:  # the records need not be looked at
        return
    recorded = {image for image in run.recorded() if image in share}
    for name in scores.unscored(run, after, recorded):
        reward = make(after[name], f"rewards.{name}", settings["device"])
        rescore(run, name, reward, named_settings(after[name]), settings["batch"], recorded)
        del reward
        release()
