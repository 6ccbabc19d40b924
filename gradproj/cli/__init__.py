"""``gradproj VERB ...``: a file for each verb, and the one place where failures become messages and exit codes.

A verb's file has ``main(arguments) -> int`` and is imported only when its verb is typed, so that ``gradproj --help``
answers at once. The exit code is 0 where all is done, 1 where something is not, 2 where a message says what to change,
130 after Ctrl-C and 141 where the reader of a pipe has gone.
"""

import difflib
import errno
import importlib
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from gradproj.errors import Incomplete, UserError
from gradproj.runs.terminal import printable

VERBS = {
    "run": "optimise the noise of every prompt and seed, and record each image; goes on where it stopped",
    "doctor": "whether this machine has what a run needs: GPU, weights, access, disk, Slurm; what to type where not",
    "fetch": "all that a run or a sweep needs, before it: weights and prompts, settled, fetched, hashed; --list",
    "verify": "whether a run's parts compute what the published code does, on these weights; a page of it to send",
    "plan": "what a run would do, with the run's own arguments: images missing and why, hours, gigabytes",
    "status": "how far the runs of a results folder are: recorded, failed and why, missing, running",
    "show": "a run or one of its images in this terminal: curve, scores, where the pictures are; draws them if it can",
    "replay": "make one recorded image again and compare the numbers; as an animation, too",
    "table": "all records of a results folder -> tables and plots beside them",
    "report": "the same, and one HTML page with a gallery to open in a browser",
    "score": "score the saved pictures of finished runs with another reward",
    "diversity": "Inception score and Vendi score of finished runs' pictures",
    "pack": "a finished run's records into one file, or back",
    "prompts": "the named prompt sets; fetch the paper's T2I-CompBench++ prompts",
    "list": "the models, methods, rewards, prompt sets and sweeps there are: licence, access, size",
    "completion": "a script with which bash, zsh or fish completes verbs, keys and choices",
    "check-reward": "try a reward of your own against what a run asks of it",
}
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CLOSED_PIPE, STOPPED = 141, 130  # what a shell reports for SIGPIPE and SIGINT


def main(arguments: list[str] | None = None) -> int:
    """``gradproj``: run the verb that ``arguments``, by default the process's, begin with; returns the exit code."""
    verb, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if verb in ("-h", "--help", "help"):
        return _said(_help)
    if verb in ("-V", "--version"):
        return _said(_version)
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        advice = f"did you mean gradproj {near[0]}?" if near else f"type one of {', '.join(VERBS)}"
        return _refuse("gradproj", f"there is no verb {verb!r}: {advice} (gradproj --help explains them)")
    return guarded(verb, lambda: importlib.import_module(f"gradproj.cli.{verb.replace('-', '_')}").main(rest))


def gradproj_run() -> int:
    """``gradproj-run ARGUMENTS``, which is ``gradproj run ARGUMENTS``."""
    return main(["run", *sys.argv[1:]])


def guarded(verb: str, work: Callable[[], int]) -> int:
    """The exit code of ``work``. An exception that a person can act on becomes a message on stderr and its own code."""
    name = f"gradproj {verb}"
    try:
        code = work()
        sys.stdout.flush()  # a reader that has gone is noticed here, not when the interpreter ends
    except UserError as error:
        return _refuse(name, error)
    except Incomplete as error:
        return _refuse(name, error, 1)
    except KeyboardInterrupt:
        return _refuse(name, "stopped; what is recorded stays, and the same command goes on", STOPPED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter complains at its end
        return CLOSED_PIPE
    except OSError as error:
        place = f" for {error.filename}" if error.filename else ""
        if error.errno in NO_ROOM:
            return _refuse(name, f"no space left{place}: make room, then give the same command again")
        return _refuse(name, f"{error.strerror}: {error.filename}" if error.strerror else error)
    return code


def _refuse(name: str, message: object, code: int = 2) -> int:
    """Print a message on stderr, without what a terminal would obey; returns ``code``."""
    print(f"{name}: " + "\n".join(map(printable, str(message).split("\n"))), file=sys.stderr)
    return code


def _said(text: Callable[[], str]) -> int:
    """Print ``text()``; returns the exit code."""

    def work() -> int:
        print(text())
        return 0

    return guarded("--help", work)


def _help() -> str:
    lines = [f"  {verb:<13}{what}" for verb, what in VERBS.items()]
    return "\n".join(
        [
            "gradproj: optimise the noise of one-step text-to-image models against a reward, and measure the result.\n",
            "usage: gradproj VERB ...    (gradproj VERB --help explains one verb)\n",
            *lines,
            "\n  gradproj run                                     our method on the built-in miniature, under a minute",
            "  gradproj run method=reno model=flux reward=aesthetic",
            "  gradproj --version",
        ]
    )


def _version() -> str:
    """Version, commit where this is a checkout, and the versions of torch and Python; torch is not imported."""
    from pathlib import Path

    from gradproj.runs.environment import git_state

    found = {name: _installed(name) for name in ("gradproj", "torch")}
    git = git_state(Path(__file__).parent)
    changed = " with changes" if git["dirty"] else ""
    commit = f" (commit {git['commit'][:12]}{changed})" if git["commit"] else ""
    return f"gradproj {found['gradproj']}{commit}, torch {found['torch']}, Python {platform.python_version()}"


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
