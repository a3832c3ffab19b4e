"""Shared fixtures: a tiny run, trained and exported once for all tests of the pipeline."""

import pathlib
import random

import pytest

from tests.shared_runs import SharedRun, make_run, run_command

TINY = "--units 16 --embedding-units 8 --layers 2 --epochs 2 --batch-pairs 16 --max-tokens 20 --learning-rate 0.02"
TINY = [*TINY.split(), "--min-count", "1", "--no-tensorboard"]
COLOURS = {"red": "rouge", "green": "verte", "blue": "bleue", "grey": "grise"}
THINGS = {"star": "étoile", "door": "porte", "house": "maison", "car": "voiture"}


def make_pairs(number: int, seed: int) -> list[tuple[str, str]]:
    """Returns sentence pairs of two lengths that a tiny model can learn."""
    draw = random.Random(seed)
    pairs = []
    for _ in range(number):
        (colour, couleur), (thing, chose) = (draw.choice(list(words.items())) for words in (COLOURS, THINGS))
        if draw.random() < 0.5:
            pairs.append((f"A {colour} {thing}.", f"Une {chose} {couleur}."))
        else:
            pairs.append((f"This {thing} isn't {colour}!", f"Cette {chose} n'est pas {couleur} !"))
    return pairs


def write_parallel(folder: pathlib.Path, part: str, pairs: list[tuple[str, str]]):
    folder.mkdir(exist_ok=True)
    for number, language in enumerate(("en", "fr")):
        text = "".join(pair[number] + "\n" for pair in pairs)
        (folder / f"{part}.{language}").write_text(text, encoding="utf-8")


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Returns arguments that make a run tiny."""
    return TINY


@pytest.fixture(scope="session")
def make():
    """Returns the functions that make and write sentence pairs."""
    return make_pairs, write_parallel


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> SharedRun:
    """Returns a run that the commands have trained and exported."""

    def make(folder: pathlib.Path):
        data, run = folder / "data", folder / "run"
        write_parallel(data, "train", make_pairs(96, seed=1))
        write_parallel(data, "val", make_pairs(24, seed=2))
        write_parallel(data, "test_made_up", make_pairs(24, seed=3))
        assert run_command("translation", "train", "sample", "--data", data, "--run", run, *TINY) == 0
        assert run_command("translation", "export", "--run", run) == 0

    return make_run(tmp_path_factory, "translation", make)
