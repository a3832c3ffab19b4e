"""Runs the calls of a model one after another, those that wait together as one batch."""

import concurrent.futures
import contextlib
import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

Arrays = Mapping[str, np.ndarray]


class Full(Exception):
    """The queue has its maximum length."""


@dataclasses.dataclass(eq=False)
class Job:
    """A call that waits.

    Attributes:
        call: function of named arrays that returns named arrays.
        inputs: the arrays.
        rows: size of the first axis of every array, if `batches`.
        batches: whether inputs of several jobs may be joined along their first axis, and outputs cut there.
        future: takes the outputs, or the error of the call. A job whose future was cancelled is not run.
    """

    call: Callable[[Arrays], Arrays]
    inputs: Arrays
    rows: int
    batches: bool
    future: concurrent.futures.Future = dataclasses.field(default_factory=concurrent.futures.Future)

    def fits(self, other: "Job") -> bool:
        """Returns whether the inputs of both can be joined: those of the same call, equal in all other axes."""
        return (
            self.batches
            and other.batches
            and self.call == other.call
            and all(array.shape[1:] == other.inputs[name].shape[1:] for name, array in self.inputs.items())
        )


class Batcher:
    """A queue and the thread that empties it.

    Args:
        name: name of the thread.
        batch_size: maximum number of rows of a call. A job with more rows is cut.
        wait: seconds that a job waits for others at most, unless the batch is full.
        length: maximum number of jobs that wait.
        observe: is called with the number of rows before each call.
        lock: is held during each call.
    """

    def __init__(
        self,
        name: str,
        *,
        batch_size: int,
        wait: float,
        length: int,
        observe: Callable[[int], object] = lambda _: None,
        lock: contextlib.AbstractContextManager | None = None,
    ):
        self.batch_size, self.wait, self.observe = batch_size, wait, observe
        self.lock = contextlib.nullcontext() if lock is None else lock
        self.queue: queue.Queue[Job | None] = queue.Queue(length)
        self.left: Job | None = None  # did not fit the batch before
        self.ended = False
        # A call cannot be interrupted: the process ends without the thread.
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def submit(self, job: Job) -> concurrent.futures.Future:
        """Returns the future of a job that is now in the queue. Raises Full."""
        try:
            self.queue.put_nowait(job)
        except queue.Full:
            raise Full from None
        return job.future

    def close(self, timeout: float | None = None) -> bool:
        """Ends the thread after the jobs that wait. Returns whether it ended within `timeout` seconds."""
        try:
            self.queue.put(None, timeout=timeout)
        except queue.Full:
            return False
        self.thread.join(timeout)
        return not self.thread.is_alive()

    def _run(self):
        while (job := self._next()) is not None:
            jobs = [each for each in self._collect(job) if each.future.set_running_or_notify_cancel()]
            if jobs:
                self._answer(jobs)
            del job, jobs  # their arrays, while the thread waits

    def _next(self) -> Job | None:
        job, self.left = self.left, None
        return job or (None if self.ended else self.queue.get())

    def _collect(self, first: Job) -> list[Job]:
        """Returns the job and those that can share its call."""
        jobs, rows, end = [first], first.rows, time.monotonic() + self.wait
        while first.batches and rows < self.batch_size:
            try:
                job = self.queue.get(timeout=max(end - time.monotonic(), 0))
            except queue.Empty:
                break
            if job is None:
                self.ended = True
                break
            if not first.fits(job):
                self.left = job
                break
            jobs.append(job)
            rows += job.rows
        return jobs

    def _answer(self, jobs: Sequence[Job]):
        try:
            outputs = list(self._outputs(jobs))
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].future.set_exception(error)
                return
            for job in jobs:  # only those that cause the error get it: it may quote their inputs
                self._answer([job])
            return
        for job, each in zip(jobs, outputs, strict=True):
            job.future.set_result(each)

    def _outputs(self, jobs: Sequence[Job]) -> Iterator[Arrays]:
        """Yields the outputs of each job, of calls with at most `batch_size` rows."""
        call, inputs = jobs[0].call, jobs[0].inputs
        if not jobs[0].batches:
            self.observe(jobs[0].rows)
            with self.lock:
                answer = call(inputs)
            yield answer
            return
        joined = {name: np.concatenate([job.inputs[name] for job in jobs]) for name in inputs}
        rows = sum(job.rows for job in jobs)
        parts = []
        for start in range(0, rows, self.batch_size):
            part = {name: array[start : start + self.batch_size] for name, array in joined.items()}
            self.observe(min(self.batch_size, rows - start))
            with self.lock:
                parts.append(call(part))
        outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        start = 0
        for job in jobs:
            yield {name: array[start : start + job.rows] for name, array in outputs.items()}
            start += job.rows
