"""What the processes of test_worker_processes.py do."""

import os
import signal
import time

from anyviews.data.path_tracing import UnusableObjectError


def answer(job):
    """Leave a file for every time that a job is begun; give twice the number, or come to one of several ends."""
    folder, what = job
    (folder / f"{what}-{time.monotonic_ns()}").touch()
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "exits":
        os._exit(3)
    if what == "slow":
        time.sleep(100)
    if what == "empty":
        raise UnusableObjectError("empty", "nothing to see")
    if what == "broken":
        raise KeyError("no such thing")
    return what * 2
