"""What a workflow says last that could not start, failed or was interrupted: the sentences of the stages at fault, and nothing else."""

import atexit
import re
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from recsys.errors import RecsysError, StorageError
from recsys.storage import require_writable

_SENTENCE = re.compile(r"^recsys: (?!warning: )(.+)$", re.MULTILINE)
_DIED = re.compile(
    r"Command '(?P<command>.*?)' (?:died with <Signals\.(?P<name>\w+): \d+>|returned non-zero exit status (?P<status>\d+))", re.DOTALL
)
_INTERRUPTED = re.compile(r"^(Terminating processes on user request|Will exit after finishing currently running jobs)", re.MULTILINE)
"""What Snakemake logs when Ctrl-C, or a SIGTERM, ends it."""
_GOES_ON = "run the same command again, and it goes on where it stood"


@dataclass(frozen=True)
class FailedJob:
    """A job that ended badly: what a person calls it, its logs, and the folder in which the workflow runs."""

    name: str
    logs: tuple[Path, ...]
    folder: Path = Path()


def stop(error: RecsysError) -> NoReturn:
    """End Snakemake with one sentence and the error's exit code, without a place in a Snakefile that a user has nothing to do with."""
    print(f"recsys: {error}", file=sys.stderr)
    sys.exit(error.exit_code)


def rules_of(jobs: Iterable[Any]) -> frozenset[str]:
    """The names of the rules of Snakemake's jobs, those of groups one by one."""
    return frozenset(job.rule.name for job in _single(jobs))


def failed_jobs(jobs: Iterable[Any]) -> list[FailedJob]:
    """Snakemake's failed jobs, those of groups one by one, in the order of their names."""
    named = []
    for job in _single(jobs):
        wildcards = ", ".join(str(value) for value in job.wildcards_dict.values())
        name = f"{job.rule.name} of {wildcards}" if wildcards else job.rule.name
        named.append(FailedJob(name, tuple(Path(log) for log in job.log), Path.cwd()))
    return sorted(named, key=lambda job: job.name)


def _single(jobs: Iterable[Any]) -> list[Any]:
    return [member for job in jobs for member in (job if job.is_group() else [job])]


def tell_at_the_end(jobs: list[FailedJob], snakemake_logs: list[str], running: frozenset[str] = frozenset()) -> None:
    """Have the failures told when Snakemake has printed everything else, so that nobody has to look for them.

    Parameters
    ----------
    jobs
        The jobs that failed.
    snakemake_logs
        What Snakemake logged of this run.
    running
        The rules of the jobs that ran when it ended.
    """
    # By then Snakemake has left the folder of --directory.
    atexit.register(_tell, jobs, [str(Path(log).absolute()) for log in snakemake_logs], running, Path.cwd())


def _tell(jobs: list[FailedJob], snakemake_logs: list[str], running: frozenset[str], folder: Path) -> None:
    ended = interruption(snakemake_logs, running)
    told = failures(jobs, snakemake_logs, folder) if jobs or ended is None else []
    if told:
        print("\nWhat stopped the workflow:", *told, sep="\n", file=sys.stderr)
    if ended is not None:
        print(f"\n{ended}", file=sys.stderr)


def interruption(snakemake_logs: list[str], running: frozenset[str] = frozenset()) -> str | None:
    """The line about a workflow that its user ended; None where nobody did.

    Parameters
    ----------
    snakemake_logs
        What Snakemake logged of this run.
    running
        The rules of the jobs that ran when it ended.
    """
    if not any(_INTERRUPTED.search(_read(Path(log))) for log in snakemake_logs):
        return None
    if running == {"serve"}:
        return "recsys: the server was stopped, and nothing is wrong; the same command starts it again"
    return f"recsys: the workflow was interrupted, and nothing that was finished is lost: {_GOES_ON}"


def failures(jobs: list[FailedJob], snakemake_logs: list[str], folder: Path = Path()) -> list[str]:
    """A line for each failed job: its stage's own sentence, or what can be said of a stage that ended without one.

    Parameters
    ----------
    jobs
        The jobs that failed.
    snakemake_logs
        What Snakemake logged of this run; it says how a stage ended.
    folder
        Where the workflow runs.
    """
    report = "".join(_read(Path(log)) for log in snakemake_logs)
    jobs_by_sentence: dict[str, list[str]] = {}
    for job in jobs:
        jobs_by_sentence.setdefault(_sentence(job, report), []).append(job.name)
    return [f"recsys: {sentence} ({', '.join(names)})" for sentence, names in jobs_by_sentence.items()] or _storage(folder)


def _sentence(job: FailedJob, report: str) -> str:
    said = [sentence for log in job.logs for sentence in _SENTENCE.findall(_read(job.folder / log))]
    if said:
        return said[-1]
    ended = _signal(job, report)
    log = f"; its log is {job.logs[0]}" if job.logs else ""
    if ended == "SIGKILL":
        return (
            "the stage was killed (SIGKILL) before it could say why; most often the system does that when memory runs out: "
            f"{_GOES_ON}, with a smaller --cores if memory was short"
        )
    if ended in ("SIGTERM", "SIGINT", "SIGHUP"):
        return f"the stage was ended from outside ({ended}): {_GOES_ON}"
    if ended is not None:
        return f"the stage crashed ({ended}){log}: {_GOES_ON}, or report it if it crashes again"
    full = _storage(job.folder)
    return full[0].removeprefix("recsys: ") if full else f"the stage ended without a word{log}: {_GOES_ON}"


def _signal(job: FailedJob, report: str) -> str | None:
    """The name of the signal that ended a job's stage, by Snakemake's log; the shell's exit status is 128 and the signal's number."""
    for match in _DIED.finditer(report):
        if not any(str(log) in match["command"] for log in job.logs):
            continue
        if match["name"]:
            return match["name"]
        status = int(match["status"])
        return signal.Signals(status - 128).name if status - 128 in {known.value for known in signal.Signals} else None
    return None


def _storage(folder: Path) -> list[str]:
    """A line about a disk that takes nothing more; a stage cannot write a log then either."""
    try:
        require_writable(folder)
        require_writable(folder / "results")
    except StorageError as error:
        return [f"recsys: {error}"]
    return []


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
