"""Run compiled kernels on several threads.

The kernels release Python's lock, so ordinary threads are enough. The compiler's own parallel loops are not used:
their runtimes end the process when it was forked, or when two Python threads render at once.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch


# Parts per thread: enough to even out parts of unequal cost.
PARTS_PER_WORKER = 8

# Threads are started as they are needed, and more only when several callers render at once.
MOST_WORKERS = 256

Range = tuple[int, int]

_pool: ThreadPoolExecutor | None = None


def _forget_pool() -> None:
    """A forked process has its parent's pool, but none of its threads."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def run(kernel: Callable[..., None], ranges: Iterable[Range], *arguments) -> None:
    """Call `kernel(first, last, *arguments)` for each range, on as many threads as torch uses.

    What a kernel writes for one range must not depend on any other: ranges run in any order.
    """
    global _pool
    waiting = deque(ranges)
    helpers = min(worker_count(), len(waiting)) - 1

    def work() -> None:
        while waiting:
            try:
                part = waiting.popleft()
            except IndexError:  # another thread took the last one
                return
            kernel(*part, *arguments)

    if helpers <= 0:
        return work()
    if _pool is None:
        _pool = ThreadPoolExecutor(MOST_WORKERS, thread_name_prefix="anyviews-gaussians")
    helping = [_pool.submit(work) for _ in range(helpers)]
    try:
        work()
    finally:
        waiting.clear()
        for helper in helping:
            helper.result()


def worker_count() -> int:
    """Threads that take part in `run`."""
    return torch.get_num_threads()


def equal_ranges(count: int, size: int) -> list[Range]:
    """0 .. count - 1 in ranges of `size`, the last one shorter."""
    return [(first, min(first + size, count)) for first in range(0, count, size)]


def balanced_ranges(costs: np.ndarray, parts: int | None = None) -> list[Range]:
    """The indices of `costs` in ranges of about equal total cost; by default enough for all workers."""
    if parts is None:
        parts = 1 if worker_count() == 1 else PARTS_PER_WORKER * worker_count()
    done = np.cumsum(costs, dtype=np.float64)
    ends = np.searchsorted(done, done[-1] * np.arange(1, parts) / parts, side="left") + 1
    edges = np.unique([0, *ends, len(done)])
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
