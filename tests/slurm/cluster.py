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

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
NODES = ("n1", "n2", "n3", "n4")
HERE = Path(__file__).parent
SYSTEM_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
CONFIGURATION = """\
ClusterName=gradproj
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# Within cred_expire seconds a task must be launched, however busy this host; a requeued one is held back as long. Tests
# sit that out: a node refuses a task started again in the second it was stopped ("credential revoked"), and it FAILED.
AuthInfo=socket={folder}/munge.socket,cred_expire=10
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
ReturnToService=2
KillWait=3
MinJobAge=7200
SlurmdTimeout=60
{nodes}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=all Nodes=ALL Default=YES PriorityTier=1
PartitionName=urgent Nodes=ALL PriorityTier=2 PreemptMode=OFF
"""


class CannotStart(Exception):
    """Slurm is not installed here and cannot be."""


def get_packages() -> None:
    """Slurm's programs, installed where they are missing and this user may; else ``CannotStart``."""
    if not _missing():
        return
    if os.getuid() != 0 or not shutil.which("apt-get"):
        raise CannotStart(
            f"no {', '.join(_missing())}, and only root can install them: apt-get install {' '.join(PACKAGES)}"
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True, timeout=600)
    if _missing():
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise CannotStart(f"apt-get {' '.join(command)} did not bring {', '.join(_missing())}: {' '.join(last)}")


def _missing() -> list[str]:
    return [program for program in PROGRAMS if not shutil.which(program, path=SYSTEM_PATH)]


def wait(condition: Callable[[], object], what: str, seconds: float = 120) -> None:
    """Until ``condition()`` holds; ``AssertionError`` saying ``what`` did not happen after ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
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
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format_map(values))

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

    def repair(self, node: str) -> None:
        self.start_node(node)
        self.slurm("scontrol", "update", f"nodename={node}", "state=resume")
        self.wait_for_nodes()

    def wait_for_nodes(self) -> None:
        def idle() -> bool:
            lines = self.slurm("sinfo", "--noheader", "-p", "all", "-N", "-o", "%N %T", check=False).splitlines()
            return len(lines) == len(NODES) and all(line.endswith("idle") for line in lines)

        wait(idle, "four idle nodes", 30)

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
