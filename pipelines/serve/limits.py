"""Limits of requests. Does not import TensorFlow: the command line takes its defaults from here."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of requests.

    Attributes:
        batch_size: rows of a call of a model.
        wait: seconds that a request waits for others.
        queue: requests that wait for one task.
        body: bytes of a body.
        receive: seconds to receive the headers of a request, and again its body.
        answer: seconds from the body to the answer.
    """

    batch_size: int = 32
    wait: float = 0.002
    queue: int = 128
    body: int = 32 * 2**20
    receive: float = 20.0
    answer: float = 60.0
