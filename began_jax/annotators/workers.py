"""A function over many tasks in worker processes: results in order, few in flight, no orphans."""

import collections
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from began_jax import sharding
from began_jax.errors import InputError

_make: Callable[[], Callable[[Any], Any]]  # of this worker
_function: Callable[[Any], Any] | None = None


def ordered_map(
    make: Callable[[], Callable[[Any], Any]], tasks: Iterable[Any], workers: int | None = None
) -> Iterator[Any]:
    """Yield make()(task) in the order of the tasks; each worker process calls `make` once.

    Args:
        make: picklable, as are tasks and results.
        tasks: taken as workers become free, so they may be many.
        workers: processes; None for one a core that this one may use, 0 to stay in this one.

    Raises:
        InputError: `workers` is negative, or a worker process died, such as for want of memory.

    What the function raises reaches the caller.
    """
    if workers is None:
        workers = sharding.cores()
    if workers < 0:
        raise InputError(f"--workers is {workers}; it must be 0 (all in one process) or more")
    if workers == 0:
        function = make()
        yield from map(function, tasks)
        return
    context = multiprocessing.get_context("spawn")  # JAX's threads do not survive a fork
    pool = ProcessPoolExecutor(workers, context, _start, (make,))
    waiting: collections.deque[Future] = collections.deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(_call, task))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise InputError(
            "a worker process died (out of memory?); the same command with fewer --workers goes on"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start(make: Callable[[], Callable[[Any], Any]]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the first process ends the pool
    parent = multiprocessing.parent_process()
    assert parent is not None  # this runs in a worker
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()  # even if it was killed
    sharding.keep_to_cpu()
    global _make
    _make = make


def _call(task: Any) -> Any:
    global _function
    if _function is None:  # here rather than at the start, where what it raises would be lost
        _function = _make()
        if "cv2" in sys.modules:
            sys.modules["cv2"].setNumThreads(1)  # the processes are the parallelism
    return _function(task)
