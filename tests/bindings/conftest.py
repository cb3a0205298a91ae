"""What the tests of the bindings share."""

import sys
import threading
import time
from collections.abc import Callable

import pytest


@pytest.fixture
def others_run() -> Callable[[Callable[[], object]], bool]:
    """Tells whether other threads run while one works, over and over."""

    def run(work: Callable[[], object]) -> bool:
        enough, ended = threading.Event(), threading.Event()

        def work_on() -> None:
            for _ in range(50):
                if not enough.is_set():
                    work()
            ended.set()

        interval = sys.getswitchinterval()
        # A thread that holds the interpreter is not asked to give it up before this is over.
        sys.setswitchinterval(60)
        worker, steps = threading.Thread(target=work_on), 0
        try:
            worker.start()
            while steps < 1_000 and not ended.is_set():
                steps += 1
                time.sleep(0)
        finally:
            enough.set()
            worker.join()
            sys.setswitchinterval(interval)
        return steps == 1_000

    return run
