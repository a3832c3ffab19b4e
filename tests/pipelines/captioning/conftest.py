"""One tiny run from training to export, made once for all tests of the pipeline."""

import dataclasses
import pathlib
import random
import shutil

import pytest
from PIL import Image, ImageDraw

from tests import shared_runs

TINY = "--encoder small --image first --units 8 --embedding-units 8 --dropout 0.1 --image-size 32 --max-tokens 12"
TINY += " --epochs 2 --batch-images 8 --batch-pairs 16 --learning-rate 0.02 --cnn-learning-rate 0.01 --no-tensorboard"
TINY += " --length-penalty 0.7"
TINY = TINY.split()
COLOURS = ("red", "green", "blue", "white")
PLACES = {"on the left": 2, "on the right": 20}


def draw_image(colour: str, x: int, size: int = 32) -> Image.Image:
    image = Image.new("RGB", (size, size), "black")
    ImageDraw.Draw(image).rectangle([x, 10, x + 9, 20], fill=colour)
    return image


def write_scenes(folder: pathlib.Path, part: str, number: int, seed: int) -> list[str]:
    """Images of a square, two captions each, in the layout of the sample; returns their names."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    draw, lines, names = random.Random(seed), [], []
    for index in range(number):
        colour, (place, x) = draw.choice(COLOURS), draw.choice(list(PLACES.items()))
        name = f"{part}{index:03d}.png"
        draw_image(colour, x + draw.randint(-1, 1)).save(folder / "images" / name)
        names.append(name)
        lines += [f"{name}\t0\tA {colour} square {place} .\n", f"{name}\t1\t{place} there is a {colour} square\n"]
    (folder / f"captions_{part}.tsv").write_text("".join(lines), encoding="utf-8")
    return names


@dataclasses.dataclass(frozen=True)
class SharedRun(shared_runs.SharedRun):
    """The run, and the cache of its features."""

    cache: pathlib.Path

    def image(self, number: int = 0) -> pathlib.Path:
        return self.data / "images" / f"test{number:03d}.png"


@pytest.fixture(scope="session")
def scenes():
    """The function that writes images and captions."""
    return write_scenes


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> SharedRun:
    """A run that was trained and exported by the real commands."""

    def make(folder: pathlib.Path):
        for seed, (part, number) in enumerate((("train", 40), ("val", 12), ("test", 12))):
            write_scenes(folder / "data", part, number, seed)
        arguments = ["--data", folder / "data", "--run", folder / "run", "--cache", folder / "cache"]
        assert shared_runs.run_command("captioning", "train", "sample", *arguments, *TINY) == 0
        assert shared_runs.run_command("captioning", "export", "--run", folder / "run") == 0

    folder = shared_runs.make_once(tmp_path_factory, "captioning", make)
    return SharedRun(folder / "data", shared_runs.own_copy(tmp_path_factory, folder / "run"), folder / "cache")


@pytest.fixture(scope="session")
def attending(shared, tmp_path_factory) -> pathlib.Path:
    """A run of a model with attention, with random weights, and its export."""

    def make(folder: pathlib.Path):
        from pipelines.captioning.config import Config
        from pipelines.captioning.model import make_model, make_preprocessing
        from pipelines.common.config import from_json, replace
        from pipelines.common.data.loading import load_vocabulary
        from pipelines.common.runs import Run
        from pipelines.common.weights import save_weights

        config = replace(from_json(Config, Run.open(shared.run, "captioning").config), image="attend", fit="crop")
        run = Run.start(folder / "run", "captioning", config)
        shutil.copy(shared.run / "vocabulary.txt", run.path)
        preprocessing = make_preprocessing(config, load_vocabulary(run.path / "vocabulary.txt"))
        model = make_model(config, preprocessing)
        save_weights(model, run.weights_file)
        run.close()
        assert shared_runs.run_command("captioning", "export", "--run", folder / "run") == 0

    folder = shared_runs.make_once(tmp_path_factory, "captioning-attending", make)
    return shared_runs.own_copy(tmp_path_factory, folder / "run")


@pytest.fixture(scope="session")
def tiny(shared) -> list[str]:
    """Arguments that make a run tiny."""
    return [*TINY, "--cache", str(shared.cache)]
