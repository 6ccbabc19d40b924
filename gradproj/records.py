"""A run's folder and one image's record in it: name, write, read, which are missing. Imports no torch.

``<results>/runs/<run id>/`` holds ``config.yaml`` (what changes the numbers; its hash is in the run id), ``env.json``
(where it ran) and ``images/<prompt id>-<seed>.csv``: a row per step, closed by a line ``# sha256 <hex>`` over the rest.
A record appears by rename, whole or not at all; what a dead node left of one is moved to ``.csv.damaged`` and redone.
Beside it: ``.failed`` (a line per attempt), ``.note`` (made otherwise than the rest); in the folder ``seeds`` (how many
were wanted) and ``workers/`` (signs of life, for gradproj-status alone). A packed run has ``records.tar.xz`` with the
same files instead.
"""

import contextlib
import hashlib
import io
import json
import lzma
import os
import shlex
import socket
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gradproj.errors import UserError
from gradproj.files import place

COLUMNS = ("step", "seconds", "reward", "gradient_norm", "latent_rms", "cosine", "skipped", "flatness", "distance")
EARLIER = COLUMNS[:7]  # of the first records, which are read as if the other two were blank; a column per score follows
PACKED = "records.tar.xz"
BEAT = 30  # seconds between two signs of life of a worker
_SEAL = b"# sha256 "


def fingerprint(config: Any) -> str:
    """8 hex digits over a nested config; ``1`` and ``1.0`` are the same number, key order does not matter."""
    return hashlib.sha256(json.dumps(_canonical(config), sort_keys=True).encode()).hexdigest()[:8]


def run_id(config: Mapping[str, Any]) -> str:
    """``<model>-<method>-<reward>-<fingerprint>``."""
    names = config["names"]
    return f"{names['model']}-{names['method']}-{names['reward']}-{fingerprint(config)}"


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


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

    def name(self, prompt: int, seed: int) -> str:
        return f"{prompt:04d}-{seed}"

    def done(self) -> set[str]:
        """Names of the images whose whole record is here, packed or not; a damaged one is an error."""
        return {name for name, _ in self.records()}

    def has(self, prompt: int, seed: int) -> bool:
        """Whether this image's record is here by now (packed ones are not looked at)."""
        return is_closed(self.images / f"{self.name(prompt, seed)}.csv")

    def recorded(self) -> set[str]:
        """As ``done``, fast: by each last line alone. A cut or empty record does not count: it is to be redone."""
        loose = {path.stem for path in self.images.glob("[0-9]*-*[0-9].csv") if is_closed(path)}
        return loose | {name for name, _ in self._packed()}

    def damaged(self, names: set[str]) -> set[str]:
        """Which of ``names`` have a record here that ``check`` refuses."""
        found = set()
        for name, content in self._loose():
            try:
                if name in names:
                    self.check(name, content)
            except UserError:
                found.add(name)
        return found

    def records(self) -> Iterator[tuple[str, bytes]]:
        """(name, checked CSV text without its seal) of every recorded image, by name; refuses one that stands twice."""
        seen: dict[str, bytes] = {}
        for name, content in [*self._loose(), *self._packed()]:
            if name not in seen:
                yield name, self.check(name, content)
            elif seen[name] != content:
                raise UserError(
                    f"{self.folder}: image {name} differs in images/ and in {PACKED}; remove one of the two"
                )
            seen[name] = content  # equal twins are what a kill during pack or unpack leaves

    def _loose(self) -> list[tuple[str, bytes]]:
        return [(path.stem, path.read_bytes()) for path in sorted(self.images.glob("[!.]*.csv"))]

    def _packed(self) -> list[tuple[str, bytes]]:
        path = self.folder / PACKED
        if not path.exists():
            return []
        try:
            content = lzma.decompress(path.read_bytes())  # all of it first: checks xz's own checksum
            with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
                files = [(m.name, archive.extractfile(m)) for m in archive.getmembers()]
                if content[archive.offset :].strip(b"\0"):
                    raise tarfile.ReadError("a damaged header inside")
                return [(Path(name).stem, file.read()) for name, file in files if file]
        except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
            raise UserError(f"{path} is damaged ({error}); restore it") from error

    def check(self, name: str, content: bytes) -> bytes:
        """The CSV text of a record whose seal, header and number of rows are right, else ``UserError``."""
        text, mark, seal = content.rpartition(_SEAL)
        whole = mark and seal.strip().decode(errors="replace") == hashlib.sha256(text).hexdigest()
        if (
            not whole
            or text.count(b"\n") != self.config["steps"] + 2
            or not text.startswith(tuple(f"{header}\n".encode() for header in self.headers))
        ):
            raise UserError(
                f"{self.images / name}.csv (or its packed copy) is cut, edited or foreign; remove it and run again"
            )
        return text

    def write(
        self, prompt: int, seed: int, rows: Iterable[Mapping[str, float | int | None]], pictures: Mapping[str, Any]
    ) -> None:
        """Place the pictures (suffix -> PIL image), then the CSV: the CSV's existence is "this image is done".

        An image that another worker recorded meanwhile stays as it is; what is left of a cut record is moved aside.
        """
        name = self.name(prompt, seed)
        record = self.images / f"{name}.csv"
        if record.exists():
            if is_closed(record):
                return
            with contextlib.suppress(FileNotFoundError):  # another worker was first
                record.replace(record.with_suffix(".csv.damaged"))
        for suffix, picture in pictures.items():
            buffer = io.BytesIO()
            picture.save(buffer, format="PNG")
            place(self.images / f"{name}{suffix}.png", buffer.getvalue())
        columns = self.header.split(",")
        lines = [self.header, *(",".join(_cell(row.get(column)) for column in columns) for row in rows)]
        text = ("\n".join(lines) + "\n").encode()
        place(record, text + _SEAL + hashlib.sha256(text).hexdigest().encode() + b"\n")
        (self.images / f"{name}.failed").unlink(missing_ok=True)

    def fail(self, prompt: int, seed: int, reason: str) -> None:
        """Leave word of an image that could not be finished, a line per attempt; a later run tries it again."""
        path = self.images / f"{self.name(prompt, seed)}.failed"
        before = path.read_bytes() if path.exists() else b""
        place(path, before + " ".join(reason.split()).encode() + b"\n")

    def failures(self) -> dict[str, list[str]]:
        """Image -> why each attempt at it failed, of the images that are not recorded."""
        reasons = {path.stem: path.read_text(errors="replace").splitlines() for path in self.images.glob("*.failed")}
        recorded = self.recorded() if reasons else set()
        return {name: lines for name, lines in sorted(reasons.items()) if name not in recorded}

    def note(self, prompt: int, seed: int, text: str) -> None:
        """Leave word of how an image came about that is not as the others did, in ``<image>.note``."""
        place(self.images / f"{self.name(prompt, seed)}.note", text.encode() + b"\n")

    def beat(self, images: int) -> None:
        """Say, every BEAT seconds at most, that this process has so many images under way; nothing depends on it."""
        sign = self._sign
        with contextlib.suppress(OSError):
            if not sign.exists() or time.time() - sign.stat().st_mtime > BEAT:
                sign.parent.mkdir(exist_ok=True)
                place(sign, f"{images}\n".encode())

    def rest(self) -> None:
        """Take back what ``beat`` said."""
        with contextlib.suppress(OSError):
            self._sign.unlink(missing_ok=True)
            self._sign.parent.rmdir()  # by the last one

    def running(self) -> int:
        """Images under way, by the signs that live workers left in the last 20 BEATs."""
        signs = [path for path in (self.folder / "workers").glob("[!.]*") if time.time() - _age(path) < 20 * BEAT]
        return sum(int(path.read_text() or 0) for path in signs)

    @property
    def _sign(self) -> Path:
        return self.folder / "workers" / f"{socket.gethostname()}-{os.getpid()}"

    def ask(self, seeds: int) -> None:
        """Remember that ``seeds`` pictures of every prompt are wanted, if no more were wanted before."""
        if seeds > self.asked:
            place(self.folder / "seeds", f"{seeds}\n".encode())

    @property
    def asked(self) -> int:
        """The most seeds that were wanted so far; 0 where no run of today's form wanted any."""
        try:
            return int((self.folder / "seeds").read_text())
        except (OSError, ValueError):
            return 0

    def pack(self) -> int:
        """Move the CSVs into one ``records.tar.xz`` (same bytes for the same records); returns how many it holds."""
        list(self.records())  # refuses damaged records and twins that differ
        loose = self._loose()
        everything = sorted({*loose, *self._packed()})
        if not loose:
            return len(everything)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:xz", preset=9) as archive:
            for name, content in everything:
                member = tarfile.TarInfo(f"images/{name}.csv")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        place(self.folder / PACKED, buffer.getvalue())
        for name, _ in loose:
            (self.images / f"{name}.csv").unlink()
        return len(everything)

    def unpack(self) -> int:
        """The reverse of ``pack``, byte for byte."""
        list(self.records())  # refuses duplicates: nothing loose is overwritten
        packed = self._packed()
        self.images.mkdir(exist_ok=True)
        for name, content in packed:
            place(self.images / f"{name}.csv", content)
        (self.folder / PACKED).unlink(missing_ok=True)
        return len(packed)


def is_closed(path: Path) -> bool:
    """Whether a record's last line is its seal: false for a cut, an empty or a missing one."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - len(_SEAL) - 65))
            tail = file.read()
    except OSError:
        return False
    return tail.startswith(_SEAL) and tail.endswith(b"\n") and len(tail) == len(_SEAL) + 65


def _age(path: Path) -> float:
    """When it was written; 0 where it is gone by now."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0


def _cell(value: float | int | None) -> str:
    return "" if value is None else f"{value:.6g}"
