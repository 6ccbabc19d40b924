"""A run's folder and one image's record in it: name, write, read, which are missing. Imports no torch.

``<results>/runs/<run id>/`` holds ``config.yaml`` (what changes the numbers; its hash is in the run id), ``env.json``
(where it ran) and ``images/<prompt id>-<seed>.csv``: a row per step, closed by a line ``# sha256 <hex>`` over the rest.
A record appears by rename, whole or not at all; a damaged one is moved to ``.csv.damaged`` and redone. A packed run has
``records.tar.xz`` with the same CSVs instead. What workers leave beside the records is in ``progress``.
"""

import contextlib
import io
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from gradproj.errors import UserError
from gradproj.files import is_sealed, place, sealed, unsealed
from gradproj.runs import archive
from gradproj.runs.naming import ImageId, fingerprint

COLUMNS = ("step", "seconds", "reward", "gradient_norm", "latent_rms", "cosine", "skipped", "flatness", "distance")
EARLIER = COLUMNS[:7]  # of the first records, which are read as if the other two were blank; a column per score follows
PACKED = "records.tar.xz"


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
    def header(self) -> str:
        return ",".join([*COLUMNS, *self.config["rewards"]])

    @property
    def headers(self) -> tuple[str, str]:
        """The first lines that a record of this run may have: today's and the first records'."""
        return self.header, ",".join([*EARLIER, *self.config["rewards"]])

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

    def has(self, image: ImageId) -> bool:
        """Whether this image's record is here by now (packed ones are not looked at)."""
        return is_sealed(self.record(image))

    def recorded(self) -> set[ImageId]:
        """The images whose whole record is here, packed or not; a damaged one does not count: it is to be redone.

        Reads all, 100,000 in seconds.
        """
        loose = {path.stem for path in self.images.glob("[0-9]*.csv") if is_sealed(path)}
        return set(_images(loose | {name for name, _ in self.packed()}))

    def damaged(self) -> set[ImageId]:
        """The images whose loose record has a seal that is not right; a sound one of another form is none."""
        return set(_images(path.stem for path in self.images.glob("[0-9]*.csv") if not is_sealed(path)))

    def set_aside(self, image: ImageId) -> None:
        """Move an image's record to ``.csv.damaged`` (where that is taken, ``.csv.2.damaged``): it is to be redone."""
        record, number = self.record(image), 1
        while (aside := record.with_suffix(f".csv.{number}.damaged" if number > 1 else ".csv.damaged")).exists():
            number += 1
        with contextlib.suppress(FileNotFoundError):  # another worker was first
            record.replace(aside)

    def table(self, image: ImageId) -> pd.DataFrame:
        """The image's record: a row per step, columns of float64, NaN where blank. ``UserError`` where it has none."""
        for name, content in self.records():
            if name == str(image):
                return pd.read_csv(io.BytesIO(content), dtype=dict.fromkeys(self.header.split(","), float))
        raise UserError(f"{self.folder} has no record of {image}")

    def records(self) -> Iterator[tuple[str, bytes]]:
        """(name, checked CSV text without its seal) of every recorded image, by name; refuses one that stands twice."""
        seen: dict[str, bytes] = {}
        for name, content in [*self.loose(), *self.packed()]:
            if name not in seen:
                yield name, self.check(name, content)
            elif seen[name] != content:
                raise UserError(
                    f"{self.folder}: image {name} differs in images/ and in {PACKED}; remove one of the two"
                )
            seen[name] = content  # equal twins are what a kill during pack or unpack leaves

    def loose(self) -> list[tuple[str, bytes]]:
        """(name, content as it is) of every record in images/."""
        return [(path.stem, path.read_bytes()) for path in sorted(self.images.glob("[!.]*.csv"))]

    def packed(self) -> list[tuple[str, bytes]]:
        """The same of the archive, if there is one."""
        return archive.members(self.folder / PACKED)

    def check(self, name: str, content: bytes) -> bytes:
        """The CSV text of a record whose seal, header and number of rows are right, else ``UserError``."""
        text = unsealed(content)
        if (
            text is None
            or text.count(b"\n") != self.config["steps"] + 2
            or not text.startswith(tuple(f"{header}\n".encode() for header in self.headers))
        ):
            raise UserError(
                f"{self.images / name}.csv (or its packed copy) is cut, edited or foreign; remove it and run again"
            )
        return text

    def write(
        self, image: ImageId, rows: Iterable[Mapping[str, float | int | None]], pictures: Mapping[str, Any]
    ) -> None:
        """Place the pictures ("start", "kept": PIL), then the CSV: the CSV's existence is "this image is done".

        An image that another worker recorded meanwhile stays as it is; what is left of a cut record is moved aside.
        """
        record = self.record(image)
        if is_sealed(record):
            return
        if record.exists():
            self.set_aside(image)
        for kind, picture in pictures.items():
            buffer = io.BytesIO()
            picture.save(buffer, format="PNG")
            place(self.pictures(image)[kind], buffer.getvalue())
        columns = self.header.split(",")
        lines = [self.header, *(",".join(_cell(row.get(column)) for column in columns) for row in rows)]
        text = ("\n".join(lines) + "\n").encode()
        place(record, sealed(text))
        (self.images / f"{image}.failed").unlink(missing_ok=True)


def _images(names: Iterable[str]) -> Iterator[ImageId]:
    """Those of ``names`` that are an image's."""
    for name in names:
        with contextlib.suppress(ValueError):
            yield ImageId.parse(name)


def find(results: Path) -> tuple[list[Run], list[Path]]:
    """Every run under ``results/runs``, and the folders there with images but without a ``config.yaml``.

    A folder with neither is a run that begins this moment, or one that never did: it is left out.
    """
    folders = sorted(path for path in (results / "runs").glob("[!.]*") if path.is_dir())
    runs = [path for path in folders if (path / "config.yaml").exists()]
    strays = [path for path in folders if path not in runs and any(path.glob("images/[!.]*"))]
    return [Run.open(path) for path in runs], strays


def _cell(value: float | int | None) -> str:
    return "" if value is None else f"{value:.6g}"
