"""A run's folder: its name, its records and pictures, which images are recorded. Imports no torch.

``<results>/runs/<run id>/`` holds ``config.yaml`` (what changes the numbers; its hash is in the run id), ``env.json``
(where it ran) and ``images/<image>.csv``, a record as ``record`` describes it. A record appears by rename, whole or not
at all; a damaged one is moved to ``.csv.damaged`` and made again. A packed run has ``records.tar.xz`` with the same
CSVs instead. What workers leave beside the records is in ``progress``.
"""

import contextlib
import io
import json
import shlex
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
from gradproj.runs import archive
from gradproj.runs.naming import ImageId, fingerprint
from gradproj.runs.record import COLUMNS, labelled, picture_hash, table_text, tables, unlabelled

PACKED = "records.tar.xz"
SHOWN = 20  # records named in one message


def run_id(config: Mapping[str, Any]) -> str:
    """``<model>-<method>-<reward>-<fingerprint>``."""
    names = config["names"]
    return f"{names['model']}-{names['method']}-{names['reward']}-{fingerprint(config)}"


@dataclass(frozen=True)
class Scan:
    """What lies in a run's folder for records."""

    recorded: dict[ImageId, Mapping[str, str]]  # image -> its pictures' hashes, as its record has them
    damaged: set[ImageId]  # the seal is wrong: to be made again
    strangers: list[str]  # another run's or image's record, a line each with what to do


@dataclass(frozen=True)
class Run:
    """One run's folder. ``config`` is what was hashed: ``names`` (model, method, reward), ``steps``, ``prompts``..."""

    folder: Path
    config: dict[str, Any]

    @classmethod
    def create(cls, results: Path, config: dict[str, Any], environment: Mapping[str, Any]) -> "Run":
        """Make or reopen the folder of ``config``; config.yaml and env.json are written once and never changed."""
        run = cls(results / "runs" / run_id(config), config)
        try:
            run.images.mkdir(parents=True, exist_ok=True)
            if (run.folder / "config.yaml").exists():
                return cls.open(run.folder)
            place(run.folder / "env.json", json.dumps(dict(environment), indent=2).encode() + b"\n")
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
        except (OSError, UnicodeDecodeError, TypeError, KeyError, yaml.YAMLError) as error:
            raise UserError(f"{folder} has no readable config.yaml ({error}); is it a run? move it away") from error
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
        try:
            arguments = json.loads((self.folder / "env.json").read_text(encoding="utf-8"))["command"][1:]
        except (OSError, ValueError, KeyError, TypeError):
            return "gradproj-run, as when the run was made"
        return shlex.join(["gradproj-run", *arguments])

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

    def scan(self) -> Scan:
        """Look at every record, packed or not; 100,000 take seconds. ``UserError`` for a damaged archive."""
        found = Scan({}, set(), [])
        for name in self._loose():
            path = self.images / f"{name}.csv"
            self._sort(found, name, str(path), path.read_bytes())
        for name, content in archive.members(self.folder / PACKED):
            where = f"{self.folder / PACKED}: images/{name}.csv"
            if unlabelled(content) is None:
                raise UserError(f"{where} is cut or edited inside the archive; restore the archive")
            self._sort(found, name, where, content)
        return found

    def refuse_strangers(self, found: Scan) -> None:
        """``UserError`` that names the records which are another run's or image's, with what to do."""
        if found.strangers:
            shown = found.strangers[:SHOWN]
            more = [f"and {len(found.strangers) - SHOWN} more"] if len(found.strangers) > SHOWN else []
            raise UserError("\n".join([f"some records in {self.folder} are not its own:", *shown, *more]))

    def recorded(self) -> set[ImageId]:
        """The images whose whole record is here; a damaged one is to be redone, another run's or image's is none."""
        return set(self.scan().recorded)

    def has(self, image: ImageId) -> bool:
        """Whether this image's whole record is in images/ by now (packed ones are not looked at)."""
        opened = self._opened(image)
        return opened is not None and self._stranger(image, opened[0]) is None

    def table(self, image: ImageId) -> pd.DataFrame:
        """The image's record: a row per step, columns of float64, NaN where blank. ``UserError`` where it has none."""
        path, packed = self.record(image), self.folder / PACKED
        content = path.read_bytes() if path.exists() else dict(archive.members(packed)).get(str(image))
        if content is None:
            raise UserError(f"{self.folder} has no record of {image}; the images that it has are in {self.images}")
        where = str(path) if path.exists() else f"{packed}: images/{image}.csv"
        csv = self._checked(str(image), where, content)
        return pd.DataFrame(self.values([csv])[0], columns=self.columns)

    def records(self) -> dict[ImageId, bytes]:
        """Image -> CSV of every record, in the order of their names.

        ``UserError`` names the first that is damaged or not this run's, or that stands twice with other content.
        """
        files = {name: self.images / f"{name}.csv" for name in self._loose()}
        loose = {name: (str(path), path.read_bytes()) for name, path in files.items()}
        packed = dict(archive.members(self.folder / PACKED))
        for name in loose.keys() & packed.keys():
            if loose[name][1] != packed[name]:  # equal twins are what a kill during pack or unpack leaves
                raise UserError(
                    f"{self.folder}: image {name} differs in images/ and in {PACKED}; remove one of the two"
                )
        every = {name: (f"{self.folder / PACKED}: images/{name}.csv", content) for name, content in packed.items()}
        every |= loose
        checked = {name: self._checked(name, *every[name]) for name in sorted(every)}
        return {ImageId.parse(name): csv for name, csv in checked.items()}

    def values(self, csvs: Sequence[bytes]) -> NDArray[np.float64]:
        """(records, steps + 1, columns) of some of ``records``, read in one pass, NaN where blank."""
        try:
            return tables(csvs, self.columns, self.config["steps"])
        except ValueError as error:
            raise UserError(f"the records in {self.folder} do not read as this run's: {error}") from error

    def write(
        self, image: ImageId, rows: Iterable[Mapping[str, float | int | None]], pictures: Mapping[str, Picture]
    ) -> None:
        """Place the pictures ("start", "kept"), then the CSV: the CSV's existence is "this image is done".

        An image that another worker recorded meanwhile stays as it is, what is left of a cut record is moved aside,
        and another run's or image's record in its place is a ``UserError``.
        """
        opened = self._opened(image)
        if opened is not None:
            self._refuse(image, str(self.record(image)), opened[0])
            return
        self.set_aside(image)
        for kind, picture in pictures.items():
            buffer = io.BytesIO()
            picture.save(buffer, format="PNG")
            place(self.pictures(image)[kind], buffer.getvalue())
        label = self._label(image) | {"pictures": {kind: picture_hash(picture) for kind, picture in pictures.items()}}
        place(self.record(image), labelled(label, table_text(self.columns, rows)))
        (self.images / f"{image}.failed").unlink(missing_ok=True)

    def set_aside(self, image: ImageId) -> None:
        """Move what is left of an image's record to ``.csv.damaged``, or ``.csv.2.damaged`` where that is taken."""
        record, number = self.record(image), 1
        while (aside := record.with_suffix(f".csv.{number}.damaged" if number > 1 else ".csv.damaged")).exists():
            number += 1
        with contextlib.suppress(FileNotFoundError):  # there is none, or another worker was first
            record.replace(aside)

    def _loose(self) -> list[str]:
        """The names of the records in images/, sorted; half-written files begin with a dot."""
        return sorted(path.stem for path in self.images.glob("[!.]*.csv"))

    def _label(self, image: ImageId) -> dict[str, Any]:
        """Whose a record of ``image`` is."""
        return {"run": self.folder.name, "image": str(image), "prompt": self.config["prompts"][image.prompt]}

    def _opened(self, image: ImageId) -> tuple[dict[str, Any], bytes] | None:
        try:
            return unlabelled(self.record(image).read_bytes())
        except FileNotFoundError:
            return None

    def _sort(self, found: Scan, name: str, where: str, content: bytes) -> None:
        """Put one record where it belongs."""
        opened, image = unlabelled(content), _image(name)
        label = {} if opened is None else opened[0]
        if opened is None and image:
            found.damaged.add(image)
        elif why := self._stranger(image, label):
            found.strangers.append(f"{where} {why}")
        elif image:
            found.recorded[image] = label.get("pictures", {})

    def _stranger(self, image: ImageId | None, label: Mapping[str, Any]) -> str | None:
        """Why a sealed record in the place of ``image`` is not this run's, and what to do; None where it is."""
        if image is None:
            return "is not called <prompt id>-<seed>: move it away"
        if image.prompt < len(self.config["prompts"]) and self._label(image).items() <= label.items():
            return None
        if not {"run", "image", "prompt"} <= label.keys():
            return "does not say whose record it is: move it away"
        home = self.folder.with_name(str(label["run"])) / "images" / f"{label['image']}.csv"
        return f"is the record of image {label['image']} ({label['prompt']!r}) of run {label['run']}: move it to {home}"

    def _refuse(self, image: ImageId | None, where: str, label: Mapping[str, Any]) -> None:
        if why := self._stranger(image, label):
            raise UserError(f"{where} {why}")

    def _checked(self, name: str, where: str, content: bytes) -> bytes:
        """The CSV of a record whose seal and label are right, else ``UserError``."""
        opened = unlabelled(content)
        if opened is None:
            raise UserError(
                f"{where} is cut or edited; give the same command again, which makes it anew: {self.command}"
            )
        self._refuse(_image(name), where, opened[0])
        return opened[1]


def _image(name: str) -> ImageId | None:
    try:
        return ImageId.parse(name)
    except ValueError:
        return None


def find(results: Path) -> tuple[list[Run], list[str]]:
    """Every run under ``results/runs``, and a line with what to do for everything else that is there.

    A folder without config.yaml and images is a run that begins this moment, or one that never did: it is left out.
    """
    runs: list[Run] = []
    others: list[str] = []
    for path in sorted((results / "runs").glob("[!.]*")):
        if not path.is_dir():
            others.append(f"{path} is no run's folder: not counted; move it away")
        elif (path / "config.yaml").exists():
            try:
                runs.append(Run.open(path))
            except UserError as error:
                others.append(f"{error}: not counted")
        elif any(path.glob("images/[!.]*")):
            others.append(f"{path} has images but no config.yaml: not counted; restore it or move it away")
    return runs, others
