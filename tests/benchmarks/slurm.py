"""A job array on a real Slurm, all of it on this machine: slurmctld, slurmd and munged in a folder of their own.

    python tests/benchmarks/slurm.py [--tasks 8] [--rows 30000]

Needs Debian's packages slurm-wlm and munge, and root (slurmd starts jobs as their users); says so and ends where they
are missing. `featx extract ... --array job.sh` writes the script, `sbatch` submits it, and the store's bytes are
compared with those of one process. Two minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from clusters import noise, stored_bytes

FEATX = (sys.executable, "-m", "featx.cli.main")
WAIT_SECONDS = 600.0

CONFIG = """
ClusterName=featx
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.txt
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def missing() -> str:
    """Return why there can be no Slurm here; empty where there can."""
    absent = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(name) is None]
    if absent:
        return f"there is no {', '.join(absent)}: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "slurmd starts jobs as their users: run this as root"


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Run a cluster of this machine alone; yield the environment of its commands."""
    host = os.uname().nodename.split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(folder=folder, host=host, cpus=os.cpu_count()))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    environment = {**os.environ, "SLURM_CONF": str(config)}
    munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"]
    munged += [
        f"--pid-file={folder}/munged.pid",
        f"--log-file={folder}/munged.log",
        f"--seed-file={folder}/munged.seed",
    ]
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for command in (
            munged,
            ["slurmctld", "-D", "-f", str(config)],
            ["slurmd", "-D", "-f", str(config), "-N", host],
        ):
            daemons.append(
                subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
            time.sleep(2)
        wait_for(lambda: "idle" in said(["sinfo", "-h", "-o", "%T"], environment), 60, "the node to be idle")
        yield environment
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def wait_for(condition: object, seconds: float, what: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.5)


def said(command: list[str], environment: dict[str, str]) -> str:
    """Return what a command prints."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout


def main() -> None:
    """Run the array and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--rows", type=int, default=30_000)
    asked = parser.parse_args()
    if reason := missing():
        print(f"skipped: {reason}")
        return
    with tempfile.TemporaryDirectory(prefix="featx-slurm-") as name:
        folder = Path(name)
        work = folder / "work"
        work.mkdir()
        noise(work / "noise.npy", asked.rows)
        with slurm(folder) as environment:
            run(asked.tasks, work, environment, folder)


def run(tasks: int, work: Path, environment: dict[str, str], folder: Path) -> None:
    """Extract once in a process and once as an array; compare and print."""
    network = [
        "-b",
        "lenet5",
        "--weights",
        "random:0",
        "--size",
        "32",
        "--device",
        "cpu",
        "-l",
        "fc1",
        "-l",
        "conv2:avg",
    ]
    command = [*FEATX, "extract", "noise.npy", *network]

    def called(*words: str) -> str:
        return subprocess.run(words, cwd=work, env=environment, check=True, capture_output=True, text=True).stdout

    began = time.monotonic()
    called(*command, "--home", "alone", "--quiet")
    seconds = time.monotonic() - began
    print(called(*command, "--home", "array", "--array", "job.sh", "--tasks", str(tasks)))
    began = time.monotonic()
    print(called("sbatch", "job.sh"))
    wait_for(lambda: not said(["squeue", "-h"], environment).strip(), WAIT_SECONDS, "the jobs to end")
    together = time.monotonic() - began
    print(table(work, folder))
    equal = stored_bytes(work / "alone") == stored_bytes(work / "array")
    print(f"\none process {seconds:.1f} s; {tasks} jobs, {os.cpu_count()} at once, {together:.1f} s")
    print(f"bytes of {len(stored_bytes(work / 'array'))} files equal those of one process: {equal}")
    if not equal:
        sys.exit(1)


def table(work: Path, folder: Path) -> str:
    """Return a line for each job: its number, how it ended, and what it said of its part."""
    ends = {}
    for line in (folder / "jobs.txt").read_text().splitlines():
        facts = dict(word.split("=", 1) for word in line.split() if "=" in word)
        ends[facts["JobId"]] = facts
    lines = ["| job | state | seconds | said |", "|---|---|---:|---|"]
    logs = sorted(work.glob("slurm-*_*.out"), key=lambda path: int(path.stem.rpartition("_")[2]))
    for (_, facts), log in zip(sorted(ends.items(), key=lambda item: int(item[0])), logs, strict=False):
        part = next((line for line in log.read_text().splitlines() if line.startswith("shard ")), "nothing")
        took = _seconds(facts["EndTime"]) - _seconds(facts["StartTime"])
        lines.append(f"| {log.stem} | {facts['JobState']} | {took:.0f} | {part} |")
    return "\n".join(lines)


def _seconds(text: str) -> float:
    return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))


if __name__ == "__main__":
    main()
