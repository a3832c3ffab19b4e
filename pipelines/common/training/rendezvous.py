"""The meeting of the workers before a training, over TCP.

TensorFlow's own has no deadline, cannot be interrupted, and does not notice that two workers train different things.
The other workers connect to the chief, at its port of the cluster, and send what must be the same everywhere. When all
are there, the chief sends its verdict and the files of its run, and leaves the port to TensorFlow.

A message is a line of JSON after MAGIC. As with TensorFlow's own connections, there is no password.
"""

import contextlib
import errno
import json
import pathlib
import socket
import tarfile
import time
import typing
from collections.abc import Callable, Sequence

from pipelines.common.errors import UserError
from pipelines.common.training.cluster import Cluster
from pipelines.common.training.identity import differences

MAGIC = b"unfold-1 "
LONGEST = 2**24  # bytes of a message
GRACE = 10.0  # seconds after the deadline in which the chief's verdict may come, and for one message
RETRY = 0.2  # seconds between two attempts to connect

Files = Sequence[tuple[pathlib.Path, str]]  # where they are, and their names in the folder of the run


class StrangerError(Exception):
    """The message that was received is not one of a worker."""


def meet_as_chief(cluster: Cluster, description: dict, seconds: float, prepare: Callable[[], Files]):
    """Waits for the other workers, and sends them the files that `prepare` returns.

    Args:
        description: what must be the same at every worker, JSON values by name.

    Raises:
        UserError: From `prepare`; or a worker did not come within the seconds, cannot train, or has another
            description. The workers that came raise the same.
    """
    deadline = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        lines: dict[int, socket.socket] = {}
        try:
            with listen(cluster) as server:
                files = prepare()
                while len(lines) < len(cluster.workers) - 1:
                    if time.monotonic() > deadline:
                        raise UserError(missing(cluster, lines, seconds))
                    server.settimeout(min(max(deadline - time.monotonic(), 0.01), 1.0))
                    with contextlib.suppress(OSError, StrangerError):  # TimeoutError, or a scanner of ports
                        line = stack.enter_context(server.accept()[0])
                        line.settimeout(GRACE)
                        message = read(line)
                        lines[message["index"]] = line
                        require_same(cluster, description, message)
        except BaseException as error:
            verdict = str(error) if isinstance(error, UserError) else "the chief was stopped"
            for line in lines.values():
                with contextlib.suppress(OSError):
                    write(line, {"error": verdict})
            raise
        for line in lines.values():
            with contextlib.suppress(OSError):  # of a worker that is gone already: TensorFlow notices
                write(line, {"error": None})
                with line.makefile("wb") as stream, tarfile.open(fileobj=stream, mode="w|") as archive:
                    for path, name in files:
                        archive.add(path, name)


def missing(cluster: Cluster, came, seconds: float) -> str:
    absent = [cluster.name(i) for i in range(1, len(cluster.workers)) if i not in came]
    return (
        f"{', '.join(absent)} did not come within {seconds:g} s: start all {len(cluster.workers)} workers with the same"
        " command, or allow more time with --worker-timeout"
    )


def require_same(cluster: Cluster, description: dict, message: dict):
    """Raises UserError if a worker cannot train together with this one."""
    index = message["index"]
    if message["workers"] != list(cluster.workers) or not 0 < index < len(cluster.workers):
        raise UserError(
            f"worker {index} was started with another list of workers, {', '.join(message['workers'])}, than worker 0,"
            f" {', '.join(cluster.workers)}"
        )
    if message["error"]:
        raise UserError(f"{cluster.name(index)}: {message['error']}")
    found = differences(description, message["description"], index)
    if found:
        raise UserError(
            f"{cluster.name(index)} differs from the chief, but all workers need the same command, data and versions:"
            f" {found}"
        )


def meet_as_worker(cluster: Cluster, description: dict, seconds: float, folder: pathlib.Path):
    """Connects to the chief, and writes the files that it sends into the folder.

    Raises UserError if the chief does not come within the seconds, or refuses this worker or another one, or if the
    port of this worker is used.
    """
    deadline = time.monotonic() + seconds
    chief, own_error = cluster.name(0), None
    try:
        with listen(cluster):
            pass
    except UserError as used:
        own_error = str(used)
    message = {
        "index": cluster.index, "workers": list(cluster.workers), "description": description, "error": own_error
    }  # fmt: skip
    while True:
        try:
            line = reach(cluster.workers[0])
            break
        except OSError as refused:
            if time.monotonic() > deadline:
                reason = own_error or f"it did not come within {seconds:g} s ({refused.strerror or refused})"
                raise UserError(f"{chief} is missing: {reason}") from refused
            time.sleep(RETRY)
    with line, line.makefile("rb") as stream:
        line.settimeout(max(deadline - time.monotonic(), 0) + GRACE)
        try:
            write(line, message)
            verdict = read_from(stream)["error"]
        except (OSError, StrangerError) as silent:
            raise UserError(
                f"{chief} did not answer ({silent}): is its port used by another program, or by another training?"
            ) from silent
        if verdict:
            raise UserError(verdict)
        try:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                archive.extractall(folder, filter="data")
        except (OSError, tarfile.TarError) as error:
            raise UserError(f"the files of the run did not come from {chief}: {error}") from error


def reach(worker: str) -> socket.socket:
    """Returns a connection to a worker; raises OSError if nobody listens there."""
    line = socket.create_connection(address(worker), timeout=5.0)
    if line.getsockname() == line.getpeername():  # on one machine, TCP can connect a port that is free to itself
        line.close()
        raise ConnectionRefusedError("Connection refused")
    return line


@contextlib.contextmanager
def listen(cluster: Cluster):
    """Yields a socket that listens at the port of this worker. It is closed before TensorFlow takes the port."""
    host, port = address(cluster.workers[cluster.index])
    local = host == "localhost" or host.startswith("127.")
    try:
        server = socket.create_server((host if local else "", port), backlog=len(cluster.workers))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"the port {port} is used by another program: expected a free port") from error
        raise UserError(f"the port {port} cannot be used: {error.strerror or error}") from error
    with server:
        yield server


def address(worker: str) -> tuple[str, int]:
    host, _, port = worker.rpartition(":")
    return host.strip("[]"), int(port)


def write(line: socket.socket, message: dict):
    line.sendall(MAGIC + json.dumps(message).encode() + b"\n")


def read(line: socket.socket) -> dict:
    with line.makefile("rb") as stream:
        return read_from(stream)


def read_from(stream: typing.BinaryIO) -> dict:
    text = stream.readline(LONGEST)
    if not text.startswith(MAGIC) or not text.endswith(b"\n"):
        raise StrangerError("the answer is not one of a worker" if text else "the connection was closed")
    try:
        return json.loads(text[len(MAGIC) :])
    except ValueError as error:
        raise StrangerError(f"the answer is damaged: {error}") from error
