"""A run's folder: its name, where its files are, and how a record and its pictures get there. Imports no torch.

``<results>/runs/<run id>/`` holds ``config.yaml`` (what changes the numbers; its hash is in the run id), ``env.json``
(where it ran) and ``images/<image>.csv``, a record as ``record`` describes it. A record appears by rename, whole or not
at all; a damaged one is moved to ``.csv.damaged`` and made again. A packed run has ``records.tar.xz`` with the same
CSVs instead. ``contents`` sorts and reads what lies there, ``owner`` tells a run's own records from others; what
workers leave beside them is in ``progress``.
"""

import contextlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from PIL.Image import Image as Picture

from gradproj.errors import UserError
from gradproj.files import place
from gradproj.runs import archive, contents, environment
from gradproj.runs.contents import PACKED, Scan
from gradproj.runs.naming import ImageId, fingerprint
from gradproj.runs.owner import Owner
from gradproj.runs.record import COLUMNS, labelled, picture_hash, table_text, tables, unlabelled


def run_id(config: Mapping[str, Any]) -> str:
    """``<model>-<method>-<reward>-<fingerprint>``."""
    names = config["names"]
    return f"{names['model']}-{names['method']}-{names['reward']}-{fingerprint(config)}"


@dataclass(frozen=True)
class Run:
    """One run's folder. ``config`` is what was hashed: ``names`` (model, method, reward), ``steps``, ``prompts``..."""

    folder: Path
    config: dict[str, Any]

    @classmethod
    def create(cls, results: Path, config: dict[str, Any], facts: Mapping[str, Any]) -> "Run":
        """Make or reopen the folder of ``config``; config.yaml is written once, and env.json but for peaks.

        ``facts`` are env.json's, as ``environment.describe`` gives them. ``UserError`` where nothing can be written.
        """
        run = cls(results / "runs" / run_id(config), config)
        try:
            run.images.mkdir(parents=True, exist_ok=True)
            if (run.folder / "config.yaml").exists():
                return cls.open(run.folder)
            place(run.folder / "env.json", json.dumps(dict(facts), indent=2).encode() + b"\n")
            place(run.folder / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=False).encode())
        except OSError as error:
            raise UserError(
                f"cannot write to the results folder {results}: {error.strerror}; give another one: results=PATH"
            ) from error
        return run

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Read a run's folder and check that its config is the one its name was made from."""
        try:
            config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
            found = run_id(config)
        except FileNotFoundError as error:
            raise UserError(f"{folder} is no run, it has no config.yaml: give results/runs/<run id>") from error
        except (OSError, UnicodeDecodeError, TypeError, KeyError, yaml.YAMLError) as error:
            reason = "it is no run's" if isinstance(error, (TypeError, KeyError)) else str(error)
            raise UserError(
                f"{folder} has no readable config.yaml ({reason}): restore it, or move the folder away"
            ) from error
        if folder.name != found:
            raise UserError(
                f"{folder} is foreign or edited: by its config.yaml it should be called {found}; "
                "restore config.yaml or move the folder away"
            )
        return cls(folder, config)

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def command(self) -> str:
        """What was typed to make this run (from env.json), to type again."""
        return environment.command(self.folder)

    @property
    def columns(self) -> list[str]:
        """A record's columns: what every record has, then a column per official score."""
        return [*COLUMNS, *self.config["rewards"]]

    def record(self, image: ImageId) -> Path:
        """Where the image's CSV is, or is to be."""
        return self.images / f"{image}.csv"

    def start(self, image: ImageId) -> Path:
        """The PNG of the image before the first step."""
        return self.images / f"{image}-start.png"

    def kept(self, image: ImageId) -> Path:
        """The PNG of the image that the run hands over."""
        return self.images / f"{image}.png"

    def pictures(self, image: ImageId) -> dict[str, Path]:
        """The two PNGs under the names that scores and diversity have for them."""
        return {"start": self.start(image), "kept": self.kept(image)}

    def latent(self, image: ImageId) -> Path:
        """The safetensors file of the kept picture's latent, where a run saves it."""
        return self.images / f"{image}.safetensors"

    @property
    def owner(self) -> Owner:
        """Whom the records in this folder are to belong to."""
        return Owner(self.folder, self.config["prompts"])

    def scan(self) -> Scan:
        """Look at every record, packed or not; 100,000 take seconds. ``UserError`` for a damaged archive."""
        return contents.scan(self.owner)

    def refuse_strangers(self, found: Scan) -> None:
        """``UserError`` that names the records which are another run's or image's, with what to do."""
        contents.refuse_strangers(self.folder, found.strangers)

    def recorded(self) -> set[ImageId]:
        """The images whose whole record is here; a damaged one is to be redone, another run's or image's is none."""
        return set(self.scan().recorded)

    def has(self, image: ImageId) -> bool:
        """Whether this image's whole record is in images/ by now (packed ones are not looked at)."""
        opened = self._opened(image)
        return opened is not None and self.owner.stranger(image, opened[0]) is None

    def table(self, image: ImageId) -> pd.DataFrame:
        """The image's record: a row per step, columns of float64, NaN where blank. ``UserError`` where it has none."""
        return pd.DataFrame(self.values([self._whole(image)[1]])[0], columns=self.columns)

    def label(self, image: ImageId) -> dict[str, Any]:
        """What the image's record says of whose it is and of how it came about. ``UserError`` as ``table``."""
        return self._whole(image)[0]

    def records(self) -> dict[ImageId, bytes]:
        """Image -> CSV of every record, in the order of their names.

        ``UserError`` names the first that is damaged or not this run's, or that stands twice with other content.
        """
        return contents.records(self.owner)

    def values(self, csvs: Sequence[bytes]) -> NDArray[np.float64]:
        """(records, steps + 1, columns) of some of ``records``, read in one pass, NaN where blank."""
        try:
            return tables(csvs, self.columns, self.config["steps"])
        except ValueError as error:
            raise UserError(f"the records in {self.folder} do not read as this run's: {error}") from error

    def write(
        self,
        image: ImageId,
        rows: Iterable[Mapping[str, float | int | None]],
        pictures: Mapping[str, Picture],
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Place the pictures ("start", "kept"), then the CSV: the CSV's existence is "this image is done".

        ``facts`` are what the record's label says of how the image came about, besides whose it is.
        An image that another worker recorded meanwhile stays as it is, what is left of a cut record is moved aside,
        and another run's or image's record in its place is a ``UserError``.
        """
        opened = self._opened(image)
        if opened is not None:
            self.owner.refuse(image, str(self.record(image)), opened[0])
            return
        self.set_aside(image)
        for kind, picture in pictures.items():
            buffer = io.BytesIO()
            picture.save(buffer, format="PNG")
            place(self.pictures(image)[kind], buffer.getvalue())
        hashes = {kind: picture_hash(picture) for kind, picture in pictures.items()}
        label = {**(facts or {}), **self.owner.label(image), "pictures": hashes}
        place(self.record(image), labelled(label, table_text(self.columns, rows)))
        (self.images / f"{image}.failed").unlink(missing_ok=True)

    def set_aside(self, image: ImageId) -> None:
        """Move what is left of an image's record to ``.csv.damaged``, or ``.csv.2.damaged`` where that is taken."""
        record, number = self.record(image), 1
        while (aside := record.with_suffix(f".csv.{number}.damaged" if number > 1 else ".csv.damaged")).exists():
            number += 1
        with contextlib.suppress(FileNotFoundError):  # there is none, or another worker was first
            record.replace(aside)

    def _whole(self, image: ImageId) -> tuple[dict[str, Any], bytes]:
        """The label and CSV of the record, packed or not."""
        where, content = str(self.record(image)), contents.content(self.record(image))
        if content is None:
            where = contents.inside(self.folder, str(image))
            content = dict(archive.members(self.folder / PACKED)).get(str(image))
        if content is None:
            raise UserError(f"{self.folder} has no record of {image}; the images that it has are in {self.images}")
        return contents.checked(self.owner, str(image), where, content)

    def _opened(self, image: ImageId) -> tuple[dict[str, Any], bytes] | None:
        """The label and CSV of the loose record; None where there is none, or a damaged one."""
        content = contents.content(self.record(image))
        return None if content is None else unlabelled(content)
