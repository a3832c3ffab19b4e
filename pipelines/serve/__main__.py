"""python -m pipelines.serve: parses the command line, loads the models and starts the server."""

import dataclasses
import logging
import os
import socket
import sys
from typing import Annotated

import tyro

from pipelines.common import cli
from pipelines.common.config import check, check_at_least
from pipelines.common.errors import UserError
from pipelines.common.named_runs import ExistingRun
from pipelines.serve.discovery import TASKS
from pipelines.serve.limits import Limits
from pipelines.serve.listening import address_of, listen

NAME = "serve"
DAY = 24 * 60 * 60  # seconds
MISSING = "the server needs {}, which is not installed: pip install 'unfold[serve]'"

Runs = Annotated[tuple[ExistingRun, ...], tyro.conf.UseAppendAction]


@dataclasses.dataclass(frozen=True)
class Serve:
    """Serve models over HTTP, with the REST interface of TensorFlow Serving: docs/serving.md.

    A model is a run, an export, or the name of a run in saved_models. The export of a run is made at its first use.
    If no model is given, every export and every finished run in saved_models is served.
    """

    sentiment: Runs = ()
    """Model of sentiment; may be repeated. The first of a task has the name of the task as well."""

    translation: Runs = ()
    """Model of translation."""

    captioning: Runs = ()
    """Model of captioning."""

    video: Runs = ()
    """Model of video."""

    language_model: Runs = ()
    """Language model, a run of python -m pipelines.sentiment pretrain."""

    port: int = 8501
    """Port; 0 takes a free one."""

    host: str = "127.0.0.1"
    """Address to listen on. By default only this machine can reach the server: it has neither encryption nor users."""

    allow_host: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Name by which clients may address the server, besides localhost and IP addresses."""

    batch_size: int = Limits.batch_size
    """Maximum number of rows of a call of a model."""

    batch_wait: float = 1000 * Limits.wait
    """Milliseconds that a request waits for others to share its call. 0: only those that wait already share one."""

    queue: int = Limits.queue
    """Maximum number of requests that wait for a task; further ones are answered 503."""

    body_limit: float = Limits.body / 2**20
    """Maximum size of a body, in MiB."""

    receive_timeout: float = Limits.receive
    """Seconds to receive the headers of a request, and as many to receive its body."""

    timeout: float = Limits.answer
    """Seconds from the end of a request to its answer."""

    def __post_init__(self):
        check(self, "port", 0 <= self.port <= 65535, "from 0 to 65535")
        check_at_least(self, batch_size=1, batch_wait=0, queue=1)
        check(self, "body_limit", 0 < self.body_limit <= 1024, "above 0 and at most 1024")
        for field in ("receive_timeout", "timeout"):
            check(self, field, 0 < getattr(self, field) <= DAY, f"above 0 and at most {DAY}")


def serve(arguments: list[str]) -> int:
    """Serve models over HTTP."""
    options = cli.parse(NAME, "", Serve, arguments)
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(MISSING.format(error.name)) from error
    listener, is_loopback = listen(options.host, options.port)
    with listener:
        return run(options, listener, is_loopback)


def run(options: Serve, listener: socket.socket, is_loopback: bool) -> int:
    """Loads the models and serves them until a signal stops the server. Returns the exit status."""
    import uvicorn

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    for noisy in ("uvicorn.error", "absl"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    with cli.quiet_imports():
        from pipelines.serve import guard, models
        from pipelines.serve.app import Service
        from pipelines.serve.connections import Protocol, Server

    loaded = models.load({task: getattr(options, task.replace("-", "_")) for task in TASKS})
    limits = Limits(
        batch_size=options.batch_size,
        wait=options.batch_wait / 1000,
        queue=options.queue,
        body=int(options.body_limit * 2**20),
        receive=options.receive_timeout,
        answer=options.timeout,
    )
    names = {options.host.lower(), *(name.lower().rstrip(".") for name in options.allow_host)}
    service = Service(loaded, limits, guard.Hosts(is_loopback, names))
    Protocol.seconds = options.receive_timeout
    config = uvicorn.Config(
        service.app,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(options.receive_timeout + options.timeout) + 1,
    )
    for line in models.describe(loaded):
        guard.LOG.info("model %s", line)
    if not is_loopback:
        address = listener.getsockname()[0]
        guard.LOG.warning("all that can reach %s can use the server, which has neither encryption nor users", address)
    where = address_of(listener)
    Server(config, lambda: guard.LOG.info("serving on %s", where), service.stop).run(sockets=[listener])
    if not service.close(timeout=1.0):
        guard.LOG.error("a call of a model did not end: it is cut off")
        os._exit(1)
    guard.LOG.info("stopped")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Runs the server and returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    return cli.main(NAME, {NAME: serve}, [NAME, *arguments])


if __name__ == "__main__":
    sys.exit(main())
