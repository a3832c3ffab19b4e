"""Measures how long a call of a captioning export takes, and the decoding of its images alone.

    python tests/benchmarks/bench_images.py [--model DIR] [--rounds 20]

Without --model, the export has the architecture of the preset sample and random weights, and its captions are longer
than those of a trained model. The images are JPEG photos of 500 x 375 pixels, as those of Flickr8k, and PNG files of
64 x 64, as those of the sample. Medians; "CPU" are the seconds of all threads, which other processes change less.
"""

import argparse
import io
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the command line does

import numpy as np
import tensorflow as tf
from PIL import Image

from layers.text import GENERATION, Vocabulary
from pipelines.captioning.decoder import image_decoder
from pipelines.captioning.model import Trained, make_model, make_preprocessing
from pipelines.captioning.presets import PRESETS
from pipelines.common.serving import exports
from pipelines.common.serving.saved_model import write_saved_model
from pipelines.common.vision import images

WORDS = 60  # of the vocabulary, about as many as in the sample


def untrained_export(folder: Path):
    """Returns the loaded export of a model of the preset sample with random weights."""
    config = PRESETS["sample"][1]
    preprocessing = make_preprocessing(config, Vocabulary([*GENERATION, *(f"▁w{word}" for word in range(WORDS))]))
    trained = Trained(config, preprocessing, make_model(config, preprocessing))
    write_saved_model(folder, image_decoder([trained]).signatures(), [trained.model, preprocessing])
    return exports.load(folder, "captioning", {"caption", "score", "candidates"})


def make_images(kind: str, size: tuple[int, int], number: int) -> list[bytes]:
    """Returns images that are smooth, so that they are compressed about as much as photos."""
    draw, made = np.random.default_rng(0), []
    for _ in range(number):
        coarse = Image.fromarray(draw.integers(0, 256, (size[1] // 16, size[0] // 16, 3), np.uint8))
        stream = io.BytesIO()
        coarse.resize(size, Image.Resampling.BICUBIC).save(stream, kind)
        made.append(stream.getvalue())
    return made


def measure(call, batch: tf.Tensor, rounds: int) -> tuple[float, float]:
    """Returns the medians of the time of a call and of its CPU time, in milliseconds."""
    walls, cpus = [], []
    for number in range(rounds + 2):
        wall, cpu = time.perf_counter(), time.process_time()
        tf.nest.map_structure(lambda value: value.numpy(), call(batch))
        if number >= 2:  # warm
            walls.append(1e3 * (time.perf_counter() - wall))
            cpus.append(1e3 * (time.process_time() - cpu))
    return statistics.median(walls), statistics.median(cpus)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="run with an export, or an export, of captioning")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.model:
            loaded = exports.load(options.model, "captioning", {"caption", "score", "candidates"})
        else:
            loaded = untrained_export(Path(folder) / "export")
        signature = [tf.TensorSpec([None], tf.string)]
        decode = tf.function(
            lambda encoded: images.decode(encoded, size=224, fit="squeeze", pixel_limit=50_000_000),
            input_signature=signature,
            autograph=False,
        )
        print("| call | images | ms | CPU ms |\n| --- | --- | --- | --- |")
        photos, drawings = make_images("JPEG", (500, 375), 32), make_images("PNG", (64, 64), 32)
        export = loaded.signatures["serving_default"]
        for name, call in (
            ("images.decode, to 224 x 224", decode),
            ("export", lambda batch: export(image=batch)),
        ):
            for kind, made in (("JPEG", photos), ("PNG", drawings)):
                for number in (1, 32):
                    wall, cpu = measure(call, tf.constant(made[:number]), options.rounds)
                    print(f"| {name} | {number} {kind} | {wall:.0f} | {cpu:.0f} |")


if __name__ == "__main__":
    main()
