"""Sweeps on a real Slurm that loses, stops and kills them: whatever happens, the same command finishes the job.

Not collected by a plain ``pytest`` (the name does not begin with test_): ``make test-slurm``. Every worker is brought
to the middle of its second image and held there (``slow.py``) during the fault: how fast this host is does not matter.
"""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from cluster import NODES, Cluster, wait
from conftest import Work

pytestmark = pytest.mark.slurm
TWO = ("method=ours", "shards=2")  # one run, half of it per task


def rows(path: Path) -> list[list[str]]:
    """A record's lines as cells, without the seconds and the seal."""
    lines = [line.split(",") for line in path.read_text().splitlines() if not line.startswith("#")]
    seconds = lines[0].index("seconds")
    return [cells[:seconds] + cells[seconds + 1 :] for cells in lines]


def whole_and_equal(work: Work, local: Work, method: str = "") -> None:
    """The method's records are all there, once, with the local sweep's numbers and pictures, and nothing else is."""
    expected = {name: path for name, path in local.records().items() if f"-{method}-" in name or not method}
    assert expected
    found = work.records()
    assert sorted(found) == sorted(expected)
    for name, path in found.items():
        assert rows(path) == rows(expected[name]), name
        for suffix in ("-start.png", ".png"):
            mine, other = (one.with_name(one.stem + suffix).read_bytes() for one in (path, expected[name]))
            assert mine == other, f"{name}{suffix}"
    for run in work.runs().values():
        assert len(run.recorded()) == len(list(run.images.rglob("*.csv")))
        assert not [path for path in run.images.rglob("*") if path.suffix not in (".csv", ".png", "")]


def written(work: Work) -> dict[str, int]:
    return {name: path.stat().st_mtime_ns for name, path in work.records().items()}


def kept(before: dict[str, int], work: Work) -> bool:
    """What was recorded by then was not made again."""
    after = written(work)
    return len(before) > 0 and all(after[name] == when for name, when in before.items())


def requeued(cluster: Cluster) -> int:
    """How often tasks of the newest array went back into the queue."""
    jobs = cluster.jobs()
    newest = max(int(job.get("ArrayJobId", job["JobId"])) for job in jobs)
    return sum(int(job["Restarts"]) for job in jobs if int(job.get("ArrayJobId", job["JobId"])) == newest)


def release_and_end(work: Work, process: subprocess.Popen[str]) -> int:
    """Let the workers go until the command has ended, requeued ones too; its exit code."""
    work.release()
    wait(lambda: process.poll() is not None, lambda: f"the end of the sweep; {work.said}", 200)
    return process.returncode


def test_a_sharded_sweep_over_four_nodes_equals_the_local_one(work: Work, cluster: Cluster, local: Work) -> None:
    seen = {job["JobId"] for job in cluster.jobs()}
    work.hold()
    process = work.start("shards=2")  # two methods, two shards each
    work.wait_until_held(4)
    tasks = [job for job in cluster.jobs() if job["JobId"] not in seen]
    assert sorted(job["NodeList"] for job in tasks) == list(NODES)
    assert release_and_end(work, process) == 0, work.said
    whole_and_equal(work, local)
    logs = {path.parent for path in (work.folder / "results" / "logs").rglob("*_log.out")}
    assert len(logs) == 4


def test_tasks_told_to_go_are_queued_again_and_finish(work: Work, cluster: Cluster, local: Work) -> None:
    work.hold()
    process = work.start(*TWO)
    workers = work.wait_until_held(2)
    before = written(work)
    array = max(int(job["ArrayJobId"]) for job in cluster.jobs())
    cluster.slurm("scancel", "--signal=USR2", str(array))
    wait(lambda: not workers & work.held(), "both workers have left", 30)
    assert release_and_end(work, process) == 0, work.said
    assert requeued(cluster) == 2
    assert kept(before, work)
    whole_and_equal(work, local, "ours")


def test_tasks_that_slurm_pre_empts_itself_finish(work: Work, cluster: Cluster, local: Work) -> None:
    work.hold()
    process = work.start(*TWO)
    workers = work.wait_until_held(2)
    before = written(work)
    urgent = ("sbatch", "--parsable", "--partition=urgent", "--array=1-4", "--output=/dev/null", "--wrap", "sleep 600")
    array = cluster.slurm(*urgent).strip()  # keeps every node until the workers have left: no two of the four share one
    wait(lambda: not workers & work.held(), "both workers had to give way", 60)
    cluster.slurm("scancel", array)
    assert release_and_end(work, process) == 0, work.said
    assert kept(before, work)
    assert sum(int(job["Restarts"]) for job in cluster.jobs() if job["JobName"] == "gradproj") >= 2
    whole_and_equal(work, local, "ours")


def test_a_killed_worker_is_reported_and_the_same_command_finishes(work: Work, cluster: Cluster, local: Work) -> None:
    work.hold()
    process = work.start(*TWO)
    os.kill(min(work.wait_until_held(2)), signal.SIGKILL)
    assert release_and_end(work, process) != 0
    before = written(work)
    assert work.end(work.start(*TWO)) == 0, work.said
    assert kept(before, work)
    whole_and_equal(work, local, "ours")


def test_a_lost_node_costs_the_image_under_way(work: Work, cluster: Cluster, local: Work) -> None:
    work.hold()
    process = work.start(*TWO)
    workers = work.wait_until_held(2)
    before = written(work)
    node = next(job["NodeList"] for job in cluster.jobs() if job["JobState"] == "RUNNING")
    cluster.cut_power(node)
    try:
        wait(lambda: len(workers & work.held()) == 1, "one worker died with its node", 30)
        assert release_and_end(work, process) == 0, work.said
    finally:
        cluster.repair(node)
    assert requeued(cluster) == 1
    assert kept(before, work)
    whole_and_equal(work, local, "ours")


def test_a_time_limit_sends_the_task_back_into_the_queue(work: Work, cluster: Cluster, local: Work) -> None:
    work.hold()
    process = work.start("method=ours", "hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=10")
    workers = work.wait_until_held(1)
    before = written(work)
    wait(lambda: not workers & work.held(), "the time limit", 100)
    assert release_and_end(work, process) == 0, work.said
    assert requeued(cluster) >= 1
    assert "timed-out" in "".join(path.read_text() for path in work.folder.rglob("*_log.err"))
    assert kept(before, work)
    whole_and_equal(work, local, "ours")


def test_a_killed_launcher_and_the_command_given_again(work: Work, cluster: Cluster, local: Work) -> None:
    work.hold()
    first = work.start(*TWO)
    work.wait_until_held(2)
    first.kill()
    first.wait()
    again = work.start(*TWO)
    work.wait_until_held(4)  # the first command's tasks go on: two sweeps of the same images at once
    assert release_and_end(work, again) == 0, work.said
    wait(lambda: not cluster.slurm("squeue", "--noheader"), "the end of the first command's tasks", 60)
    whole_and_equal(work, local, "ours")
    logs = list(work.folder.rglob("*_log.out"))
    assert len({path.parent for path in logs}) == 4  # nobody wrote over another's
