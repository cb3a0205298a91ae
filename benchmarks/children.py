"""Measuring in child processes: a form a process, so that each has its own threads, memory and peak."""

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent


def in_child(program: str, request: dict, threads: int) -> dict | None:
    """What `program --child REQUEST` prints as its last line; None where it died for want of memory."""
    environment = {**os.environ, "POLARS_MAX_THREADS": str(threads), "OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)}
    command = [sys.executable, str(HERE / program), "--child", json.dumps(request)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == -9:
        return None
    if done.returncode:
        raise SystemExit(f"{request} failed:\n{done.stderr[-2_000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _peak() -> int:
    """The process's peak resident memory in bytes, since it was last reset."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def measure(work: Callable[[], object], answer: Callable[[object], object], repeats: int) -> dict:
    """Seconds of every repeat, processor seconds of the best, the largest peak of extra memory (the result included), the answer."""
    seconds, busy, extra, found_answer = [], [], 0, None
    for repeat in range(repeats):
        _reset_peak()
        before = _peak()
        begin, used = time.perf_counter(), time.process_time()
        found = work()
        seconds.append(time.perf_counter() - begin)
        busy.append(time.process_time() - used)
        # What was freed before and is given back meanwhile hides as much: not in every repeat.
        extra = max(extra, _peak() - before)
        if repeat == 0:
            found_answer = answer(found)
        del found
    return {"seconds": seconds, "busy": min(busy), "extra": extra, "answer": found_answer}
