"""Starts several workers of a training on this machine, and starts them all again when one is lost:

    python -m pipelines.launch --workers 2 -- python -m pipelines.sentiment train sample --strategy multi-worker

The first worker is the chief, which prints the progress; of the others, only standard error is shown. On several
machines, SLURM, Kubernetes or Ray does this: docs/clusters.md.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence

from pipelines.common.cli import FAULT, INTERRUPTED, WORKER_LOST

GRACE = 20.0  # seconds that the other workers have to end, when one has
POLL = 0.05  # seconds


class Workers:
    """The processes of one attempt. Each gets TF_CONFIG, a process group, and a folder for its temporary files."""

    def __init__(self, command: Sequence[str], count: int, folder: str):
        addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
        self.processes, self.readers = [], []
        for index in range(count):
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            process = subprocess.Popen(
                command,
                env=os.environ | {"TF_CONFIG": json.dumps(config), "TMPDIR": folder},
                stdout=None if index == 0 else subprocess.DEVNULL,
                stderr=None if index == 0 else subprocess.PIPE,
                start_new_session=True,  # Ctrl-C of a terminal would reach it twice
            )
            self.processes.append(process)
            if process.stderr:
                self.readers.append(threading.Thread(target=show, args=(process.stderr, index)))
                self.readers[-1].start()

    def send(self, number: int):
        """Sends a signal to those that run."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)

    def wait(self) -> list[int]:
        """Returns the exit statuses; a worker that is still there GRACE seconds after another one failed is killed."""
        failed_at = None
        while any(process.poll() is None for process in self.processes):
            now = time.monotonic()
            if failed_at is None and any(process.poll() for process in self.processes):
                failed_at = now
            if failed_at is not None and now - failed_at > GRACE:
                self.send(signal.SIGKILL)
            time.sleep(POLL)
        for reader in self.readers:
            reader.join()
        return [process.returncode for process in self.processes]


def free_ports(count: int) -> list[int]:
    """Returns ports of the loopback interface that no program uses at the moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def show(lines, index: int):
    """Copies the lines that a worker writes to standard error, with its number."""
    for line in lines:
        sys.stderr.write(f"[worker {index}] {line.decode(errors='backslashreplace')}")
        sys.stderr.flush()
    lines.close()


def launch(command: Sequence[str], workers: int, restarts: int) -> int:
    """Runs the workers to their end, and returns the exit status: that of a worker that starting again cannot help (2:
    an error to correct; 130: interrupted), else 0, or 75 when one was lost after the last restart."""
    received: list[int] = []
    running: Workers | None = None

    def forward(number, frame):
        received.append(number)
        if running:
            running.send(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for attempt in range(restarts + 1):
            with tempfile.TemporaryDirectory(prefix="unfold-launch-", ignore_cleanup_errors=True) as folder:
                running = Workers(command, workers, folder)
                if received:  # while they were started
                    running.send(received[-1])
                statuses = running.wait()
                running = None
            final = [status for status in statuses if status not in (0, WORKER_LOST) and status > 0]
            if final or not any(statuses):
                return final[0] if final else 0
            if received:
                return INTERRUPTED
            lost = ", ".join(f"worker {i} {said(status)}" for i, status in enumerate(statuses) if status)
            again = f"starting all again ({attempt + 1} of {restarts})" if attempt < restarts else "giving up"
            print(f"launch: {lost}: {again}", file=sys.stderr, flush=True)
        return WORKER_LOST
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def said(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def make_parser(program: str, description: str) -> argparse.ArgumentParser:
    """Returns a parser of the arguments that this launcher and that of Ray have in common."""
    parser = argparse.ArgumentParser(prog=f"python -m pipelines.{program}", description=description)
    parser.add_argument("--workers", type=at_least(1), default=2, help="number of processes (default: 2)")
    parser.add_argument("--restarts", type=at_least(0), default=3, help="restarts after a worker was lost (default: 3)")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="after --: python -m pipelines.TASK train …")
    return parser


def at_least(least: int) -> Callable[[str], int]:
    """Returns a function that reads an integer, and raises an error of argparse for a smaller one."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is not an integer of at least {least}")
        return int(text)

    return read


def main(arguments: Sequence[str] | None = None) -> int:
    options = make_parser("launch", "Start a training as several workers on this machine.").parse_args(arguments)
    if shutil.which(options.command[0]) is None:
        print(f"launch: {options.command[0]} is not a program: expected python -m pipelines.TASK …", file=sys.stderr)
        return FAULT
    return launch(options.command, options.workers, options.restarts)


if __name__ == "__main__":
    sys.exit(main())
