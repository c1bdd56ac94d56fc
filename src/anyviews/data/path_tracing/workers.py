"""Many objects in several processes: a process that dies costs the object it was at, and no other."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from .problems import UnusableObjectError


# A process can be killed while it starts; one that fails as often fails always.
START_ATTEMPTS = 3


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Args:
        job: as given.
        result: of the function, or None.
        reason: one word if it failed, else "".
        message: what went wrong.
        seconds: of the clock on the wall.
    """

    job: Any
    result: Any = None
    reason: str = ""
    message: str = ""
    seconds: float = 0.0


def run_jobs(
    function: Callable[[Any], Any], jobs: Sequence[Any], processes: int, timeout: float = 3600.0
) -> Iterator[Outcome]:
    """Call a function once for each job and yield what became of it, in the order in which jobs end.

    Args:
        function: importable by name, as new processes are spawned.
        jobs: its arguments, each pickled.
        processes: that work at the same time; each does many jobs.
        timeout: seconds after which a job is given up and its process ended.

    Raises:
        RuntimeError: if a process cannot be started at all.
    """
    waiting = list(reversed(jobs))
    workers = [_Worker(function) for _ in range(min(processes, len(waiting)))]
    try:
        for worker in workers:
            worker.start(waiting.pop(), timeout)
        while any(worker.busy for worker in workers):
            busy = {worker.connection: worker for worker in workers if worker.busy}
            left = min(worker.deadline for worker in busy.values()) - time.monotonic()
            ready = [busy[connection] for connection in wait(list(busy), max(0.0, left))]
            late = [worker for worker in busy.values() if worker.deadline < time.monotonic() and worker not in ready]
            for worker in (*ready, *late):
                yield worker.finish(timeout)
                if waiting:
                    worker.start(waiting.pop(), timeout)
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process that does one job after the other, and is replaced when it has died."""

    def __init__(self, function: Callable[[Any], Any]):
        self.function = function
        self.busy = False
        self._begin()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(self.function, other), daemon=True)
        self.process.start()
        self.ready = False
        # the process holds the only other end, so that its death is seen at once
        other.close()

    def start(self, job: Any, timeout: float) -> None:
        """Hand over a job."""
        if not self.process.is_alive():
            self.end()
            self._begin()
        self._await()
        self.job, self.busy = job, True
        self.started = time.monotonic()
        self.deadline = self.started + timeout
        try:
            self.connection.send(job)
        except OSError:
            # it died meanwhile; the closed connection tells when it is waited for
            return

    def _await(self) -> None:
        """Until the process is there; what it imports takes seconds, which are not the job's."""
        for _ in range(START_ATTEMPTS):
            if self.ready:
                return
            try:
                self.ready = self.connection.recv()
            except (EOFError, OSError):
                self.end()
                self._begin()
        if not self.ready:
            raise RuntimeError("no process could be started; its own error stands above")

    def finish(self, timeout: float) -> Outcome:
        """The outcome of the job, whose connection has something to say or whose time is up."""
        self.busy = False
        seconds = time.monotonic() - self.started
        try:
            if self.connection.poll():
                return Outcome(self.job, *self.connection.recv(), seconds=seconds)
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode
            kind = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            message = f"the process ended with {kind}; was there enough memory?"
            return Outcome(self.job, reason="crashed", message=message, seconds=seconds)
        self.end()
        return Outcome(self.job, reason="timeout", message=f"not done after {timeout:g} seconds", seconds=seconds)

    def end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()


def _serve(function: Callable[[Any], Any], connection: Connection) -> None:
    """Do jobs until the other side is gone."""
    connection.send(True)
    while True:
        try:
            job = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answer = (function(job), "", "")
        except UnusableObjectError as error:
            answer = (None, error.reason, str(error))
        except KeyboardInterrupt:
            return
        # one object must not end all the others
        except Exception as error:
            answer = (None, "error", f"{type(error).__name__}: {error}")
        try:
            connection.send(answer)
        except OSError:
            return
