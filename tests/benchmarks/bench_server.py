"""Measures the server under load on this machine: requests per second, latency, equal answers, memory.

    python tests/benchmarks/bench_server.py [--sentiment DIR] [--translation DIR] [--captioning DIR] [--video DIR]
        [--seconds 5] [--clients 1 8 64] [--requests 10000]

Without models, those of `make demo` in saved_models/TASK/sample. Every client sends one row of the embedded sample
after another to 127.0.0.1, on a connection of its own, for some seconds; once with batching and once without. "CPU ms"
is the time of the processors that the server used for a request, "rows a call" how many shared a call. Every answer is
compared with that to the same row alone: numbers may differ in the sixth digit, as a batch adds in another order. Then
the first task gets --requests requests from 8 clients, and the memory of the server is compared before, in the middle
and after. Clients are processes of their own, but share the cores with the server.

It takes some minutes on two idle cores. The exit status is 1 if an answer differs from that alone.
"""

import argparse
import atexit
import base64
import collections
import dataclasses
import http.client
import json
import math
import multiprocessing
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
SAMPLES = ROOT / "data" / "samples"
TASKS = ("sentiment", "translation", "captioning", "video")
PROCESSES = 4  # at most, of clients
START = 600  # seconds
TOLERANCE = 1e-5  # of numbers, relative; absolute of those below 1, such as scores near 0
HEADER = (
    "task", "batching", "clients", "requests/s", "p50 ms", "p95 ms", "p99 ms", "CPU ms", "rows a call", "as alone",
)  # fmt: skip


def bodies(task: str) -> list[bytes]:
    """Returns requests of one row each."""
    rows: list
    if task == "captioning":
        files = sorted((SAMPLES / "captioning" / "images").glob("*.png"))[:32]
        rows = [{"b64": base64.b64encode(file.read_bytes()).decode()} for file in files]
    elif task == "video":
        rows = [clip(file) for file in sorted((SAMPLES / "video" / "clips").glob("*.mp4"))[:4]]
    else:
        rows = texts(task)[:32]
    return [json.dumps({"instances": [row]}).encode() for row in rows]


def clip(file: Path) -> dict:
    import av

    with av.open(str(file)) as opened:
        frames = [frame.to_ndarray(format="rgb24").tolist() for frame in opened.decode(video=0)]
    return {"frames": frames, "lengths": len(frames)}


def texts(task: str) -> list[str]:
    if task == "translation":
        return (SAMPLES / "translation" / "test.en").read_text("utf-8").splitlines()
    lines = (SAMPLES / "sentiment" / "test.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


class Server:
    """The server in a process of its own."""

    def __init__(self, models: dict[str, Path], log: Path, *options: str):
        self.log = log
        flags = [part for task, path in models.items() for part in (f"--{task}", str(path))]
        command = [sys.executable, "-m", "pipelines.serve", "--port", "0", *flags, *options]
        with open(log, "w") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=output)
        atexit.register(self.process.kill)  # nothing is left if this program fails
        end = time.monotonic() + START
        while not (found := re.search(r"serving on http://127\.0\.0\.1:(\d+)", log.read_text())):
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit(log.read_text())
            time.sleep(0.1)
        self.port = int(found[1])

    def metric(self, name: str) -> float:
        """Returns a number of /metrics, such as unfold_batch_rows_sum{task="video"}."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        found = re.search(rf"^{re.escape(name)} (\S+)", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def memory(self) -> float:
        """Returns the resident memory in MiB."""
        return self.metric("process_resident_memory_bytes") / 2**20

    def work(self, task: str) -> tuple[float, float, float]:
        """Returns how many seconds of the processors the server has used, and how many rows and calls of the models of
        a task there were."""
        rows, calls = (self.metric(f'unfold_batch_rows_{part}{{task="{task}"}}') for part in ("sum", "count"))
        return self.metric("process_cpu_seconds_total"), rows, calls

    def stop(self):
        self.process.terminate()
        if self.process.wait(120):
            sys.exit(self.log.read_text())


@dataclasses.dataclass
class Measured:
    """The answers that clients have received.

    Attributes:
        latencies: of all requests, in seconds.
        start, end: of all, on the clock time.monotonic().
        answers: (number of the body, answer) -> how often it came.
    """

    latencies: list[float]
    start: float
    end: float
    answers: collections.Counter

    @property
    def rate(self) -> float:
        return len(self.latencies) / (self.end - self.start)

    def percentile(self, percent: int) -> float:
        """Returns a percentile of the latencies, in milliseconds."""
        if len(self.latencies) < 2:
            return 1e3 * self.latencies[0]
        return 1e3 * statistics.quantiles(self.latencies, n=100)[percent - 1]


def client(port: int, task: str, content: list[bytes], seconds: float, limit: int, first: int, send):
    """Sends requests one after another, until `seconds` have passed or there were `limit`; sends what it has seen."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    latencies: list[float] = []
    answers: collections.Counter = collections.Counter()
    start = time.monotonic()
    while time.monotonic() < start + seconds and len(latencies) < limit:
        number = (first + len(latencies)) % len(content)
        began = time.perf_counter()
        try:
            connection.request("POST", f"/v1/models/{task}:predict", content[number])
            response = connection.getresponse()
            answer = response.read()
            if response.status != 200:
                answer = f"{response.status}: {answer.decode()}".encode()
        except (OSError, http.client.HTTPException) as error:  # it is counted as an answer that differs
            connection.close()
            answer = f"no answer: {type(error).__name__}".encode()
        latencies.append(time.perf_counter() - began)
        answers[number, answer] += 1
    connection.close()
    send(Measured(latencies, start, time.monotonic(), answers))


def process(port: int, task: str, content: list[bytes], clients: int, seconds: float, limit: int, results):
    """Runs clients as threads of a process."""
    threads = [
        threading.Thread(target=client, args=(port, task, content, seconds, limit, 7 * number, results.put))
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def load(
    server: Server, task: str, content: list[bytes], clients: int, seconds: float, limit: int = sys.maxsize
) -> Measured:
    """Returns what clients saw that sent requests at the same time, `limit` each at most."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    number = min(PROCESSES, clients)
    shares = [clients // number + (place < clients % number) for place in range(number)]
    workers = [
        context.Process(target=process, args=(server.port, task, content, share, seconds, limit, results))
        for share in shares
    ]
    for worker in workers:
        worker.start()
    seen = [results.get(timeout=START) for _ in range(clients)]
    for worker in workers:
        worker.join()
    return Measured(
        [latency for each in seen for latency in each.latencies],
        min(each.start for each in seen),
        max(each.end for each in seen),
        sum((each.answers for each in seen), collections.Counter()),
    )


def alone(server: Server, task: str, content: list[bytes]) -> list:
    """Returns the answer to each body, sent one after another."""
    seen: list[Measured] = []
    client(server.port, task, content, START, len(content), 0, seen.append)
    answers = [answer.decode() for _, answer in sorted(seen[0].answers)]
    if refused := [answer for answer in answers if not answer.startswith("{")]:
        sys.exit(f"{task}: {refused[0]}")
    return [json.loads(answer) for answer in answers]


def difference(found, expected, where: str = "") -> str:
    """Returns where two JSON values differ first, beyond TOLERANCE of numbers with a fraction; "" if they are equal."""
    if isinstance(found, float) and isinstance(expected, float):
        equal = math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    elif isinstance(found, dict) and isinstance(expected, dict) and found.keys() == expected.keys():
        return next(filter(None, (difference(found[key], expected[key], f"{where} {key}") for key in found)), "")
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return next(filter(None, (difference(*pair, f"{where} {place}") for place, pair in pairs)), "")
    else:
        equal = found == expected
    return "" if equal else f"{where.strip()}: {found} in place of {expected}"


def differing(measured: Measured, expected: list) -> list[tuple[int, str]]:
    """Returns how often an answer came that is not the one alone, and where it differs."""
    found = []
    for (number, answer), count in measured.answers.items():
        text = answer.decode()
        different = difference(json.loads(text), expected[number]) if text.startswith("{") else text
        if different:
            found.append((count, f"request {number}, {different}"))
    return found


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for task in TASKS:
        parser.add_argument(f"--{task}", type=Path, help=f"run or export of {task}")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--requests", type=int, default=10_000, help="for the comparison of memory; 0: none")
    return parser.parse_args()


def measure_memory(server: Server, task: str, content: list[bytes], requests: int) -> str:
    """Returns a sentence about the memory of the server before, in the middle and after."""
    each = -(-requests // 16)  # of 8 clients, twice
    sizes, number, rate = [server.memory()], 0, 0.0
    for _ in range(2):
        measured = load(server, task, content, 8, START, each)
        number, rate = number + len(measured.latencies), measured.rate
        sizes.append(server.memory())
    before, middle, after = sizes
    return (
        f"{before:.0f} MiB before, {middle:.0f} MiB after {number // 2:,} and {after:.0f} MiB after {number:,} requests"
        f" to {task} with batching, {rate:.1f} per second"
    )


def measure(server: Server, task: str, content: list[bytes], clients: int, seconds: float, expected: list):
    """Returns what clients saw, the cells of its row of the table, and a line about each answer that is not `expected`,
    that to the same row alone."""
    before = server.work(task)
    measured = load(server, task, content, clients, seconds)
    used, rows, calls = (after - start for after, start in zip(server.work(task), before, strict=True))
    others = differing(measured, expected)
    unequal = sum(count for count, _ in others)
    cells = [f"{measured.rate:.1f}", *(f"{measured.percentile(percent):.1f}" for percent in (50, 95, 99))]
    cells += [f"{1e3 * used / len(measured.latencies):.2f}", f"{rows / calls:.1f}"]
    cells += [f"all but {unequal}" if unequal else "all"]
    return measured, cells, [f"{task}, {clients} clients, {count} times: {answer}" for count, answer in others]


def main() -> int:
    options = parse()
    models = {task: getattr(options, task) for task in TASKS if getattr(options, task)}
    if not models:
        models = {task: ROOT / "saved_models" / task / "sample" for task in TASKS}
        models = {task: path for task, path in models.items() if (path / "config.json").is_file()}
    if not models:
        print("there is no saved_models/TASK/sample: run `make demo`, or give --sentiment DIR")
        return 0
    content = {task: bodies(task) for task in models}
    rates: dict[tuple, float] = {}
    wrong: list[str] = []
    memory = ""
    with tempfile.TemporaryDirectory() as folder:
        print(f"| {' | '.join(HEADER)} |\n|{' --- |' * len(HEADER)}")
        for batching in (True, False):
            without = [] if batching else ["--batch-size", "1", "--batch-wait", "0"]
            server = Server(models, Path(folder) / f"log-{batching}", "--queue", "256", *without)
            for task in models:
                expected = alone(server, task, content[task])
                load(server, task, content[task], 8, 1.0)  # warm
                for clients in options.clients:
                    measured, cells, others = measure(server, task, content[task], clients, options.seconds, expected)
                    rates[task, batching, clients] = measured.rate
                    wrong += others
                    row = [task, "yes" if batching else "no", str(clients), *cells]
                    print(f"| {' | '.join(row)} |", flush=True)
            if batching and options.requests:
                task = next(iter(models))
                memory = measure_memory(server, task, content[task], options.requests)
            server.stop()
    print("\nRequests per second with batching, as a multiple of those without:")
    for task in models:
        ratios = [f"{rates[task, True, each] / rates[task, False, each]:.2f} ({each})" for each in options.clients]
        print(f"{task}: {', '.join(ratios)}")
    if memory:
        print(f"\nMemory: {memory}")
    for line in wrong[:10]:
        print(f"differs from the answer alone: {line[:300]}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
