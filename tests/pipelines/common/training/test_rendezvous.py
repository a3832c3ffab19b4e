"""The meeting of workers, each of them in a thread."""

import dataclasses
import pathlib
import socket
import threading

import pytest

from pipelines import launch
from pipelines.common.errors import UserError
from pipelines.common.training import identity, rendezvous
from pipelines.common.training.cluster import Cluster
from pipelines.common.training.options import TrainingOptions


@dataclasses.dataclass(frozen=True)
class DataConfig:
    location: str = "sample"
    cache: pathlib.Path = pathlib.Path("cache")
    vectors: tuple[pathlib.Path, ...] = ()


@dataclasses.dataclass(frozen=True)
class Config:
    run: pathlib.Path = pathlib.Path("run")
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    training: TrainingOptions = dataclasses.field(default_factory=TrainingOptions)


def addresses(count: int) -> tuple[str, ...]:
    return tuple(f"127.0.0.1:{port}" for port in launch.free_ports(count))


def meet(descriptions, folder, *, seconds=5.0, workers=None, files=(), present=None, prepare=None) -> list[str]:
    """Lets workers with these descriptions meet; returns the sentence of each, empty if it was let in."""
    workers = workers or addresses(len(descriptions))
    said = ["absent"] * len(descriptions)

    def worker(index: int):
        cluster = Cluster(workers, index)
        try:
            if index == 0:
                rendezvous.meet_as_chief(cluster, descriptions[0], seconds, prepare or (lambda: files))
            else:
                rendezvous.meet_as_worker(cluster, descriptions[index], seconds, folder / str(index))
            said[index] = ""
        except UserError as error:
            said[index] = str(error)

    threads = [threading.Thread(target=worker, args=(i,)) for i in present or range(len(descriptions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


def test_workers_meet_and_get_the_files_of_the_chief(tmp_path):
    (tmp_path / "vocabulary").write_text("a b c")
    (tmp_path / "step-1.npz").write_bytes(bytes(range(256)) * 4096)
    files = [(tmp_path / "vocabulary", "vocabulary.txt"), (tmp_path / "step-1.npz", "checkpoints/step-1.npz")]
    assert meet([{"a": 1}] * 3, tmp_path, files=files) == ["", "", ""]
    for folder in (tmp_path / "1", tmp_path / "2"):
        assert (folder / "vocabulary.txt").read_text() == "a b c"
        assert (folder / "checkpoints" / "step-1.npz").read_bytes() == (tmp_path / "step-1.npz").read_bytes()


def test_a_worker_that_never_comes_is_named(tmp_path):
    workers = addresses(3)
    chief, one, _ = meet([{}] * 3, tmp_path, workers=workers, present=(0, 1), seconds=0.5)
    assert chief == one
    assert chief.startswith(f"worker 2 ({workers[2]}) did not come within 0.5 s: start all 3 workers")


def test_a_chief_that_never_comes(tmp_path):
    workers = addresses(2)
    _, one = meet([{}] * 2, tmp_path, workers=workers, present=(1,), seconds=0.5)
    assert one.startswith(f"worker 0 ({workers[0]}) is missing: it did not come within 0.5 s")


def test_all_hear_why_one_is_refused(tmp_path):
    (tmp_path / "data.csv").write_text("text,label\n")
    config = Config(data=DataConfig(str(tmp_path / "data.csv")))
    here = identity.describe("sentiment", config)

    def refusal(there: dict) -> str:
        chief, one = meet([here, there], tmp_path)
        assert chief == one
        return chief.partition("differs from the chief")[2]

    changed = dataclasses.replace(config, training=TrainingOptions(epochs=3, seed=7))
    found = refusal(identity.describe("sentiment", changed))
    assert (
        "training.epochs is 10 at worker 0 and 3 at worker 1; training.seed is 1 at worker 0 and 7 at worker 1" in found
    )
    assert " and 2 at worker 1" in refusal({**here, "the version of keras": "2"})
    assert "the source code is " in refusal({**here, "the source code": "0"})
    assert "task is sentiment at worker 0 and video at worker 1" in refusal({**here, "task": "video"})
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "data.csv"
    moved.write_text("text,label\n\n")
    found = refusal(identity.describe("sentiment", Config(data=DataConfig(str(moved)))))
    assert "data: data.csv is 11 bytes, CRC" in found and "at worker 0 and 12 bytes, CRC" in found
    moved.write_text("text,label\n")
    there = identity.describe("sentiment", Config(pathlib.Path("other"), DataConfig(str(moved), tmp_path)))
    assert meet([here, there], tmp_path) == ["", ""]


def test_the_files_that_a_training_reads_are_compared(tmp_path):
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("a 1 2\n")
    config = Config(data=DataConfig(vectors=(vectors, tmp_path / "missing.txt")))
    found = identity.describe("sentiment", config)
    assert found["data.vectors.1: missing.txt"] == "missing"
    assert found["data.vectors.0: vectors.txt"].startswith("6 bytes")
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "1.png").write_bytes(b"1")
    (folder / ".hidden").write_text("x")
    first = identity.fingerprint(folder)
    assert first["images"].startswith("1 files, 1 bytes")
    (folder / "images" / "1.png").rename(folder / "images" / "2.png")
    assert identity.fingerprint(folder).keys() == {"images"} and identity.fingerprint(folder) != first


def test_other_lists_of_workers(tmp_path):
    ports = addresses(3)
    found = []

    def chief():
        with pytest.raises(UserError) as error:
            rendezvous.meet_as_chief(Cluster(ports[:2], 0), {}, 5.0, lambda: [])
        found.append(str(error.value))

    thread = threading.Thread(target=chief)
    thread.start()
    with pytest.raises(
        UserError, match=r"worker 2 was started with another list of workers, .*, than worker 0"
    ) as error:
        rendezvous.meet_as_worker(Cluster(ports, 2), {}, 5.0, tmp_path)
    thread.join()
    assert found == [str(error.value)]


@pytest.mark.parametrize("index", [0, 1])
def test_a_used_port(tmp_path, index):
    workers = addresses(2)
    host, port = rendezvous.address(workers[index])
    with socket.create_server((host, port)) as other:
        if index == 0:  # which closes every connection, as a program that does not understand it
            threading.Thread(target=lambda: other.accept()[0].close(), daemon=True).start()
        chief, one = meet([{}] * 2, tmp_path, workers=workers, seconds=1.0)
    sentence = f"the port {port} is used by another program"
    assert sentence in chief
    assert ("did not answer" if index == 0 else sentence) in one


def test_an_error_of_the_chief_reaches_all(tmp_path):
    def prepare():
        raise UserError("the run is of another config")

    chief, one = meet([{}] * 2, tmp_path, prepare=prepare, seconds=1.0)
    assert chief == "the run is of another config"
    assert "is missing" in one or one == chief


def test_a_scanner_of_ports_disturbs_nobody(tmp_path):
    workers = addresses(2)
    said = []
    chief = threading.Thread(target=lambda: said.append(meet([{}] * 2, tmp_path, workers=workers, present=(0,))))
    chief.start()
    for _ in range(50):
        try:
            with socket.create_connection(rendezvous.address(workers[0]), timeout=1) as line:
                line.sendall(b"GET / HTTP/1.1\r\n\r\n")
            break
        except ConnectionRefusedError:
            threading.Event().wait(0.02)
    rendezvous.meet_as_worker(Cluster(workers, 1), {}, 5.0, tmp_path)
    chief.join()
    assert said == [["", "absent"]]
