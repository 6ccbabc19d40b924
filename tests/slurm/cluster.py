"""A Slurm cluster of four nodes on this host: munged, slurmctld, four slurmd; own folder, own ports."""

import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from packages import SYSTEM_PATH, get_packages

NODES = ("n1", "n2", "n3", "n4")
HERE = Path(__file__).parent


def wait(condition: Callable[[], object], what: str | Callable[[], str], seconds: float = 120) -> None:
    """Until ``condition()`` holds; ``AssertionError`` saying ``what`` (asked then) did not happen in ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        late = time.monotonic() > end
        assert not late, f"not within {seconds:.0f} s: {what if isinstance(what, str) else what()}"
        time.sleep(0.1)


class Cluster:
    """``start`` and ``stop`` it; ``environment`` makes every Slurm command talk to it and to no other cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_", "SQUEUE_"))
        }
        self.environment |= {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{HERE / 'bin'}:{SYSTEM_PATH}"}
        self.environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(HERE)}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: list[IO[bytes]] = []
        self._up = False

    def start(self) -> None:
        get_packages()
        try:
            self._configure()
            files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
            places = [f"--{key}={self.folder}/munge.{end}" for key, end in files.items()]
            self._daemon("munged", "--foreground", "--force", *places)
            wait((self.folder / "munge.socket").exists, "munged answers", 20)
            self._daemon("slurmctld", "-D", "-i")
            for node in NODES:
                self.start_node(node)
            self.wait_for_nodes()
            self._up = True
        except (AssertionError, OSError, subprocess.CalledProcessError) as error:
            tails = [log.read_text(errors="replace")[-500:] for log in sorted(self.folder.glob("*.out"))]
            raise RuntimeError("\n".join([str(error), *tails])) from error

    def _configure(self) -> None:
        (self.folder / "state").mkdir()
        subprocess.run(["mungekey", "-k", self.folder / "munge.key", "-c"], env=self.environment, check=True)
        ports = free_ports(1 + len(NODES))
        host = socket.gethostname()
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=1000"
            for node, port in zip(NODES, ports[1:], strict=True)
        )
        values = {"host": host, "port": ports[0], "user": getpass.getuser(), "folder": self.folder, "nodes": nodes}
        template = (HERE / "slurm.conf.template").read_text()
        (self.folder / "slurm.conf").write_text(template.format_map(values))

    def stop(self) -> None:
        """Cancel what runs, then end what ``start`` began, by its process id."""
        try:
            if self._up:
                self.cancel_all()
        finally:
            for daemon in reversed(self._daemons.values()):
                daemon.terminate()
            for daemon in self._daemons.values():
                try:
                    daemon.wait(10)
                except subprocess.TimeoutExpired:
                    daemon.kill()
            for log in self._logs:
                log.close()

    def start_node(self, node: str) -> None:
        self._daemon("slurmd", "-D", "-N", node, name=node)

    def cut_power(self, node: str) -> None:
        """The node's slurmd and everything it runs die at once; the controller is told that the node is gone."""
        for pid in [self._daemons[node].pid, *self._steps_of(node)]:
            kill_with_children(pid)
        self._daemons.pop(node).wait()
        self.slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        self._wait_until_down(node)

    def repair(self, node: str) -> None:
        """Start the node's slurmd again; a node that is down comes back when it registers (ReturnToService=2)."""
        self._wait_until_down(node)
        self.start_node(node)
        self.wait_for_nodes()

    def _wait_until_down(self, node: str) -> None:
        wait(
            lambda: self.states().get(node, "").startswith("down"),
            lambda: f"node {node} is down, which has no slurmd; sinfo says {self.states()}",
            60,
        )

    def wait_for_nodes(self) -> None:
        idle = dict.fromkeys(NODES, "idle")
        wait(lambda: self.states() == idle, lambda: f"four idle nodes; sinfo says {self.states()}", 60)

    def states(self) -> dict[str, str]:
        """The state of every node as ``sinfo`` says it, such as idle, allocated or down*; empty before it answers."""
        lines = self.slurm("sinfo", "--noheader", "-p", "all", "-N", "-o", "%N %T", check=False).splitlines()
        return dict(line.split() for line in lines)

    def slurm(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """Every array task or job of this cluster, finished ones too, as ``scontrol show job`` has them."""
        lines = self.slurm("scontrol", "show", "job", "--oneliner").splitlines()
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines if line.startswith("JobId=")]

    def cancel_all(self) -> None:
        def empty() -> bool:  # cancels again and again: a task may be on its way back into the queue
            self.slurm("scancel", f"--user={getpass.getuser()}")
            return not self.slurm("squeue", "--noheader")

        wait(empty, "an empty queue", 60)

    def _steps_of(self, node: str) -> list[int]:
        """Process ids of the node's slurmstepd: children of nobody, with sockets in the node's spool."""
        steps = []
        for job in self.jobs():
            if job["JobState"] == "RUNNING" and job["NodeList"] == node:
                for line in self.slurm("ps", "-eo", "pid,args").splitlines():
                    pid, arguments = line.split(maxsplit=1)
                    if re.search(rf"slurmstepd: \[{job['JobId']}\.", arguments):
                        steps.append(int(pid))
        return steps

    def _daemon(self, program: str, *arguments: str, name: str = "") -> None:
        name = name or program
        log = (self.folder / f"{name}.out").open("ab")
        self._logs.append(log)
        path = shutil.which(program, path=SYSTEM_PATH)
        assert path, program
        self._daemons[name] = subprocess.Popen(
            [path, *arguments], env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def kill_with_children(pid: int) -> None:
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout.split()
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    for child in children:
        kill_with_children(int(child))


def free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in listeners]
    for one in listeners:
        one.close()
    return ports
