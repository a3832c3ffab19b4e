"""One tiny run from training to fine-tuning, made once for all tests of the pipeline."""

import csv
import pathlib
import random

import pytest

from tests.shared_runs import SharedRun, make_run, run_command

TINY = (
    "--units 4 --embedding-units 4 --epochs 2 --batch-reviews 16 --max-words 50 --batch-words 2000 --learning-rate 0.05"
)
TINY = [*TINY.split(), "--no-tensorboard"]
TINY_LANGUAGE_MODEL = (
    "--units 6 --embedding-units 4 --layers 2 --bidirectional --k1 8 --k2 8 --streams 4 --epochs 2"
    " --learning-rate 0.05 --max-length 30 --group-column film --no-tensorboard"
)
TINY_LANGUAGE_MODEL = TINY_LANGUAGE_MODEL.split()
GOOD, BAD = ("good", "great", "lovely"), ("bad", "awful", "dull")


def make_reviews(number: int, seed: int, names=("negative", "positive")) -> list[dict]:
    """Reviews that a tiny model can learn, of different lengths, a few of each film."""
    draw = random.Random(seed)
    rows = []
    for index in range(number):
        label = index % len(names)
        opinion = draw.choice((BAD, GOOD, ("so", "mixed"))[label])
        filling = " ".join(draw.choices(("the", "film", "was", "and", "it", "Don't"), k=draw.randint(1, 12)))
        rows.append({"text": f"{filling}<br />{opinion}!", "label": names[label], "film": f"film {index // 4}"})
    return rows


def write_csv(path: pathlib.Path, rows: list[dict]) -> pathlib.Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Arguments that make a run tiny."""
    return TINY


@pytest.fixture(scope="session")
def make():
    """The functions that make reviews and write them."""
    return make_reviews, write_csv


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> SharedRun:
    """A run that was trained and exported by the real commands."""

    def make(folder: pathlib.Path):
        data, run = folder / "data", folder / "run"
        data.mkdir()
        write_csv(data / "train.csv", make_reviews(96, seed=1))
        write_csv(data / "test.csv", make_reviews(40, seed=2))
        arguments = ["--data", data, "--run", run, "--group-column", "film", *TINY]
        assert run_command("sentiment", "train", "sample", *arguments) == 0
        assert run_command("sentiment", "export", "--run", run) == 0

    return make_run(tmp_path_factory, "sentiment", make)


@pytest.fixture(scope="session")
def tiny_language_model() -> list[str]:
    """Arguments that make a language model tiny, of two layers in two directions."""
    return TINY_LANGUAGE_MODEL


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory) -> SharedRun:
    """A language model that was trained and exported by the real commands, on data with unlabelled reviews."""

    def make(folder: pathlib.Path):
        data, run = folder / "data", folder / "run"
        data.mkdir()
        write_csv(data / "train.csv", make_reviews(96, seed=1))
        write_csv(data / "unsup.csv", [{"text": row["text"]} for row in make_reviews(60, seed=3)])
        (data / "test.csv").write_bytes(b"no table \xff: a language model does not read it")
        assert run_command("sentiment", "pretrain", "sample", "--data", data, "--run", run, *TINY_LANGUAGE_MODEL) == 0
        assert run_command("sentiment", "export", "--run", run) == 0

    return make_run(tmp_path_factory, "pretrained", make)
