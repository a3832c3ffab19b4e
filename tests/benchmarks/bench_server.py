"""Measures the server under load on this machine: requests per second, latency, memory.

    python tests/benchmarks/bench_server.py [--sentiment DIR] [--translation DIR] [--captioning DIR] [--video DIR]
        [--seconds 5] [--clients 1 8 64] [--requests 10000]

Without models, those of `make demo` in saved_models/TASK/sample. Every client sends one row of the embedded sample
after another to 127.0.0.1, on a connection of its own, for some seconds; once with batching and once without. Then the
first task gets --requests requests from 8 clients, and the memory of the server is compared before and after. Clients
are processes of their own, but share the cores with the server.
"""

import argparse
import base64
import http.client
import json
import multiprocessing
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
SAMPLES = ROOT / "data" / "samples"
TASKS = ("sentiment", "translation", "captioning", "video")
PROCESSES = 4  # at most, of clients
START = 600  # seconds


def bodies(task: str) -> list[bytes]:
    """Returns requests of one row each."""
    if task == "captioning":
        files = sorted((SAMPLES / "captioning" / "images").glob("*.png"))[:32]
        rows = [{"b64": base64.b64encode(file.read_bytes()).decode()} for file in files]
    elif task == "video":
        import av

        with av.open(str(sorted((SAMPLES / "video" / "clips").glob("*.mp4"))[0])) as clip:
            frames = [frame.to_ndarray(format="rgb24").tolist() for frame in clip.decode(video=0)]
        rows = [{"frames": frames, "lengths": len(frames)}]
    else:
        rows = texts(task)[:32]
    return [json.dumps({"instances": [row]}).encode() for row in rows]


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
        end = time.monotonic() + START
        while not (found := re.search(r"serving on http://127\.0\.0\.1:(\d+)", log.read_text())):
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit(log.read_text())
            time.sleep(0.1)
        self.port = int(found[1])

    def memory(self) -> float:
        """Returns the resident memory in MiB, as /metrics shows it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        return float(re.search(r"^process_resident_memory_bytes (\S+)", text, re.MULTILINE)[1]) / 2**20

    def stop(self):
        self.process.terminate()
        if self.process.wait(120):
            sys.exit(self.log.read_text())


def client(port: int, task: str, content: list[bytes], seconds: float, limit: int, first: int, send):
    """Sends requests one after another, until `seconds` have passed or there were `limit`; sends when the first began
    and the last ended, and their latencies."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    latencies: list[float] = []
    start = time.monotonic()
    while time.monotonic() < start + seconds and len(latencies) < limit:
        began = time.perf_counter()
        connection.request("POST", f"/v1/models/{task}:predict", content[(first + len(latencies)) % len(content)])
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise SystemExit(f"{response.status}: {answer.decode()}")
        latencies.append(time.perf_counter() - began)
    send((start, time.monotonic(), latencies))


def process(port: int, task: str, content: list[bytes], clients: int, seconds: float, limit: int, results):
    """Runs clients as threads of a process."""
    import threading

    threads = [
        threading.Thread(target=client, args=(port, task, content, seconds, limit, 7 * number, results.put))
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def load(
    server: Server, task: str, clients: int, seconds: float, limit: int = sys.maxsize
) -> tuple[list[float], float]:
    """Returns the latencies of all requests in seconds, and how long all took."""
    context = multiprocessing.get_context("spawn")
    results, content = context.Queue(), bodies(task)
    number = min(PROCESSES, clients)
    shares = [clients // number + (place < clients % number) for place in range(number)]
    workers = [
        context.Process(target=process, args=(server.port, task, content, share, seconds, limit, results))
        for share in shares
    ]
    for worker in workers:
        worker.start()
    starts, ends, latencies = zip(*(results.get(timeout=START) for _ in range(clients)), strict=True)
    for worker in workers:
        worker.join()
    return [each for of_client in latencies for each in of_client], max(ends) - min(starts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for task in TASKS:
        parser.add_argument(f"--{task}", type=Path, help=f"run or export of {task}")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--requests", type=int, default=10_000, help="for the comparison of memory; 0: none")
    options = parser.parse_args()
    models = {task: getattr(options, task) for task in TASKS if getattr(options, task)}
    if not models:
        models = {task: ROOT / "saved_models" / task / "sample" for task in TASKS}
        models = {task: path for task, path in models.items() if (path / "config.json").is_file()}
    if not models:
        print("there is no saved_models/TASK/sample: run `make demo`, or give --sentiment DIR")
        return
    with tempfile.TemporaryDirectory() as folder:
        print("| task | batching | clients | requests/s | p50 ms | p95 ms | p99 ms |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for batching in (True, False):
            without = [] if batching else ["--batch-size", "1", "--batch-wait", "0"]
            server = Server(models, Path(folder) / f"log-{batching}", "--queue", "256", *without)
            for task in models:
                load(server, task, 8, 1.0)  # warm
                for clients in options.clients:
                    latencies, took = load(server, task, clients, options.seconds)
                    cuts = statistics.quantiles(latencies, n=100) if len(latencies) > 1 else latencies * 99
                    row = [task, "yes" if batching else "no", clients, f"{len(latencies) / took:.1f}"]
                    row += [f"{1e3 * cuts[percent - 1]:.1f}" for percent in (50, 95, 99)]
                    print(f"| {' | '.join(map(str, row))} |", flush=True)
            if batching and options.requests:
                task, before = next(iter(models)), server.memory()
                latencies, took = load(server, task, 8, START, -(-options.requests // 8))
                number, rate = len(latencies), len(latencies) / took
                memory = f"{before:.0f} MiB before, {server.memory():.0f} MiB after {number} requests to {task}"
                memory += f" with batching, {rate:.1f} per second"
            server.stop()
        if options.requests:
            print(f"\nMemory: {memory}")


if __name__ == "__main__":
    main()
