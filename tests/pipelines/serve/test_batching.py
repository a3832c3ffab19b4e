import threading
import time

import numpy as np
import pytest

from pipelines.serve.batching import Batcher, Full, Job


class Double:
    """A call that counts rows, and can be held up."""

    def __init__(self, fails_at=None):
        self.sizes, self.fails_at = [], fails_at
        self.entered, self.go = threading.Event(), threading.Event()
        self.go.set()

    def __call__(self, inputs):
        self.entered.set()
        assert self.go.wait(30)
        self.sizes.append(len(inputs["x"]))
        if self.fails_at in inputs["x"]:
            raise ValueError(f"cannot double {self.fails_at}")
        return {"y": 2 * inputs["x"]}


def job(call, *values, batches=True):
    return Job(call, {"x": np.array(values)}, len(values), batches)


@pytest.fixture
def make():
    made = []

    def make(batch_size=4, wait=0.0, length=10, **options):
        made.append(Batcher("test", batch_size=batch_size, wait=wait, length=length, **options))
        return made[-1]

    yield make
    for batcher in made:
        assert batcher.close(10)


def held_up(batcher, call):
    """Makes the batcher wait in a call of one job, whose future is returned."""
    call.go.clear()
    first = batcher.submit(job(call, 0))
    assert call.entered.wait(10)
    return first


def doubled(futures):
    return [future.result(10)["y"].tolist() for future in futures]


def test_jobs_that_wait_share_a_call_up_to_the_limit(make):
    call, observed = Double(), []
    batcher = make(observe=observed.append)
    futures = [held_up(batcher, call), *(batcher.submit(job(call, n, n + 1)) for n in range(1, 6))]
    call.go.set()
    assert doubled(futures) == [[0], [2, 4], [4, 6], [6, 8], [8, 10], [10, 12]]
    assert call.sizes == [1, 4, 4, 2] == observed


def test_a_job_waits_a_little_for_others(make):
    call = Double()
    batcher = make(wait=5.0, batch_size=2)
    began = time.monotonic()
    first = batcher.submit(job(call, 1))
    time.sleep(0.2)
    assert not first.done()
    assert doubled([first, batcher.submit(job(call, 2))]) == [[2], [4]]
    assert call.sizes == [2] and time.monotonic() - began < 4  # the batch is full: nothing waits for the end


def test_a_large_job_is_cut(make):
    call = Double()
    assert doubled([make().submit(job(call, *range(10)))]) == [[2 * n for n in range(10)]]
    assert call.sizes == [4, 4, 2]


def test_only_jobs_that_fit_share_a_call(make):
    call, other = Double(), Double()
    batcher = make(batch_size=10)
    jobs = [
        job(call, 1),
        job(other, 2),
        job(call, 3),
        job(call, 4, batches=False),
        job(call, [5, 6]),
        job(call, [7, 8]),
    ]
    futures = [held_up(batcher, call), *map(batcher.submit, jobs)]
    call.go.set()
    assert doubled(futures) == [[0], [2], [4], [6], [8], [[10, 12]], [[14, 16]]]
    assert call.sizes == [1, 1, 1, 1, 2] and other.sizes == [1]


def test_an_error_belongs_to_the_job_that_causes_it(make):
    call = Double(fails_at=2)
    batcher = make()
    futures = [held_up(batcher, call), *(batcher.submit(job(call, n)) for n in (1, 2, 3))]
    call.go.set()
    assert doubled(futures[:2]) == [[0], [2]] and doubled(futures[3:]) == [[6]]
    with pytest.raises(ValueError, match="cannot double 2"):
        futures[2].result(10)


def test_a_queue_is_full_and_a_cancelled_job_is_not_run(make):
    call = Double()
    batcher = make(length=2)
    futures = [held_up(batcher, call), batcher.submit(job(call, 1)), batcher.submit(job(call, 2))]
    with pytest.raises(Full):
        batcher.submit(job(call, 3))
    assert futures[1].cancel()
    call.go.set()
    assert doubled([futures[0], futures[2]]) == [[0], [4]]
    assert call.sizes == [1, 1]


def test_closing_finishes_what_waits(make):
    call = Double()
    batcher = make(batch_size=2, wait=0.1)
    futures = [held_up(batcher, call), *(batcher.submit(job(call, n)) for n in range(1, 6))]
    assert not batcher.close(0.05)  # it is in a call
    call.go.set()
    assert doubled(futures) == [[0], [2], [4], [6], [8], [10]]
    batcher.thread.join(10)
    assert not batcher.thread.is_alive()


def test_a_lock_is_held_during_calls_only(make):
    call, lock = Double(), threading.Lock()
    batcher = make(lock=lock)
    with lock:  # somebody else calls the model
        futures = [batcher.submit(job(call, 1)), batcher.submit(job(call, 2, batches=False))]
        time.sleep(0.1)
        assert not call.entered.is_set()
    assert doubled(futures) == [[2], [4]]
    other = Double()
    first = held_up(batcher, other)
    assert lock.locked()
    other.go.set()
    assert doubled([first]) == [[0]] and lock.acquire(timeout=10)
    lock.release()
