"""The console command in a process of its own, as a person starts it, but with torch and its like imported already.

Importing them takes longer than the work of most tests. A server process of ``multiprocessing`` does it once and forks
for every command: what runs is a fresh interpreter's state, which can be killed, with its own folder and environment.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "pytest",
        "torch._dynamo",
        "gradproj.cli.run",
        "gradproj.execution.worker",
        "gradproj.models.shapes",
        "gradproj.report",
    ]
)


class Command:
    """``gradproj ARGUMENTS`` in ``folder``, begun at once; what it says goes to the files ``out`` and ``err``."""

    def __init__(self, folder: Path, *arguments: object, environment: Mapping[str, str] | None = None) -> None:
        self.arguments = [str(argument) for argument in arguments]
        said = Path(tempfile.mkdtemp(prefix="gradproj-said-"))
        self.out, self.err = said / "out", said / "err"
        variables = dict(os.environ if environment is None else environment)
        self.process = SERVER.Process(target=_command, args=(folder, self.arguments, variables, self.out, self.err))
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def poll(self) -> int | None:
        """The exit code, or None as long as it runs."""
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()

    def wait(self, seconds: float | None = None) -> int:
        """The exit code; ``TimeoutError`` where it takes longer than ``seconds``."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            raise TimeoutError(f"gradproj {' '.join(self.arguments)} has not ended within {seconds} s")
        return self.process.exitcode


def command(
    folder: Path, *arguments: object, environment: Mapping[str, str] | None = None, seconds: float = 600
) -> CompletedProcess[str]:
    """One ``gradproj ARGUMENTS`` in ``folder``, to its end."""
    begun = Command(folder, *arguments, environment=environment)
    code = begun.wait(seconds)
    return CompletedProcess(begun.arguments, code, begun.out.read_text(), begun.err.read_text())


def _command(folder: Path, arguments: list[str], environment: dict[str, str], out: Path, err: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a suite that was started in the background ignores
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    for number, (path, stream) in enumerate(((out, "stdout"), (err, "stderr")), 1):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY), number)
        setattr(sys, stream, os.fdopen(number, "w", closefd=False))
    from gradproj import cli

    sys.argv = ["gradproj", *arguments]
    sys.exit(cli.main(arguments))
