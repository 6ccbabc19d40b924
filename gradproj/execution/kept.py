"""What ``gradproj.improve`` keeps of the images that are made, beside their records or without any."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gradproj.execution import protocol
from gradproj.execution.destination import Made, Records
from gradproj.execution.improved import Improved, Improvements
from gradproj.execution.memory.counted import plain
from gradproj.execution.rehearsal import encode_all
from gradproj.execution.settings import keys
from gradproj.execution.trajectory import Rows
from gradproj.optimize import Step
from gradproj.runs import latents, progress, scores
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.pictures import open_rgb
from gradproj.runs.record import COLUMNS, table_text, tables

Callback = Callable[[Sequence[ImageId], Step], object]


class CallbackError(Exception):
    """Carries what a callback raised, as its cause, past those who look after failing images."""


class Kept:
    """A ``Destination`` that keeps everything in memory."""

    def __init__(self, prompts: Sequence[str], settings: Mapping[str, Any], callback: Callback | None) -> None:
        now, self.after = keys.split_rewards(settings)
        self.prompts, self.settings, self.callback = prompts, settings, callback
        self.columns = [*COLUMNS, *now["rewards"]]
        self.records: Records | None = None
        self.made: dict[ImageId, Made] = {}
        self.failed: dict[ImageId, str] = {}
        self.late: dict[ImageId, dict[str, tuple[float, float]]] = {}

    def beside(self, records: Records) -> "Kept":
        """From now on ``records`` get all of it, too."""
        self.records = records
        return self

    def has(self, image: ImageId) -> bool:
        return self.records is not None and self.records.has(image)

    def see(self, images: Sequence[ImageId], step: Step, rows: Rows) -> None:
        if self.records:
            self.records.see(images, step, rows)
        if self.callback:
            try:
                self.callback(list(images), step)
            except Exception as error:
                raise CallbackError from error

    def take(self, image: ImageId, made: Made) -> None:
        if self.records:
            self.records.take(image, made)
        self.made[image] = replace(made, latent=made.latent.detach().cpu().clone())

    def fail(self, image: ImageId, reason: str) -> None:
        if self.records:
            self.records.fail(image, reason)
        self.failed[image] = reason

    def rest(self) -> None:
        if self.records:
            self.records.rest()

    def score(self, name: str, reward: Any) -> None:
        """Add the scores of a reward that comes after all the others (``held_out=after``)."""
        images, batch = sorted(self.made), plain(self.settings)["batch"]
        encode_all(name, reward, [self.prompts[prompt] for prompt in sorted({image.prompt for image in images})])
        for chunk in (images[at : at + batch] for at in range(0, len(images), batch)):
            prompts = [self.prompts[image.prompt] for image in chunk]
            start = protocol.score(name, reward, [self.made[image].start for image in chunk], prompts).tolist()
            kept = protocol.score(name, reward, [self.made[image].kept for image in chunk], prompts).tolist()
            for image, pair in zip(chunk, zip(start, kept, strict=True), strict=True):
                self.late.setdefault(image, {})[name] = pair

    def answer(self, run: Run | None = None) -> Improvements:
        """All that was made, or was recorded in ``run`` before, in the order of prompts and seeds."""
        found = run.scan().recorded if run else {}
        failed = {image: lines[-1] for image, lines in progress.failures(run).items()} if run else self.failed
        given = scores.read(run) if run and self.after else {}
        made = []
        for image in keys.images(self.settings, len(self.prompts)):
            late = {name: given[name].values[image] for name in given if image in given[name].values}
            late = {name: pair for name, pair in late.items() if name in self.after} | self.late.get(image, {})
            if image in self.made:
                own = self.made[image]
                made.append(self._improved(image, self._table(own), own.start, own.kept, own.latent, late))
            elif run and image in found:
                start, kept = (open_rgb(path, found[image].get(kind)) for kind, path in run.pictures(image).items())
                made.append(self._improved(image, run.table(image), start, kept, _saved(run, image), late))
        asked = keys.images(self.settings, len(self.prompts))
        return Improvements(made, {str(image): reason for image, reason in failed.items() if image in asked})

    def _table(self, made: Made) -> pd.DataFrame:
        """The rows as a record has them."""
        csv = table_text(self.columns, made.rows).encode()
        return pd.DataFrame(tables([csv], self.columns, self.settings["steps"])[0], columns=self.columns)

    def _improved(self, image: ImageId, table: pd.DataFrame, start: Any, kept: Any, latent: Any, late: Any) -> Improved:
        rewards = self.columns[len(COLUMNS) :]
        columns = {name: table[name].to_numpy() for name in ("reward", *rewards)}
        step = len(table) - 1
        if self.settings["keep"] == "best":  # which is scored, so that rows of equal six digits are told apart
            step = int(np.nanargmax(np.where(np.isfinite(columns[rewards[0]]), columns["reward"], np.nan)))
        pairs = {name: (float(columns[name][0]), float(columns[name][step])) for name in rewards}
        return Improved(self.prompts[image.prompt], image.seed, start, kept, step, latent, table, pairs | dict(late))


def _saved(run: Run, image: ImageId) -> Tensor | None:
    """The latent that the run saved of its kept picture (``save=[picture,latent]``); None where there is none."""
    latent = latents.read(run, image)
    return None if latent is None else torch.from_numpy(latent)
