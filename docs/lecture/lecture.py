"""Runs the lecture: every section of README.md, its figures and the numbers in its text.

    python docs/lecture/lecture.py [--short] [--to FOLDER] [SECTION ...]

Draws the figures into docs/lecture/figures, writes the numbers into README.md, and prints those that have changed. With
--to, README.md stays as it is. --short runs a part of each section, and draws into a temporary folder. Each section is
also a script of its own, with the same options.

The sections share what is here: the training of a model, and the size of the figures.
"""

import argparse
import importlib
import os
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]  # runs from a checkout, installed or not
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np  # noqa: E402
import quotes  # noqa: E402
from PIL import Image  # noqa: E402

from pipelines.common.files import atomic_write  # noqa: E402

FIGURES = HERE / "figures"
PAGE = HERE / "README.md"
IN_ALL = "All sections together take {all_seconds:.0f} seconds"
SECTIONS = sorted(path.stem for path in HERE.glob("section_*.py"))


def train(model, loss, batches, optimizer, clip: float | None = 1.0):
    """Trains a Keras model, with one update for each batch.

    Args:
        loss: loss(targets, outputs) returns float[].
        batches: an iterable of (inputs, targets), all of the same shapes.
        clip: the global norm to which a gradient is clipped if it is larger (Pascanu et al. 2013, "On the difficulty of
            training recurrent neural networks"); None: none is.

    Returns:
        (the loss before each update, the norm of its gradient before it is clipped), each float[updates].
    """
    import tensorflow as tf

    def update(inputs, targets):
        with tf.GradientTape() as tape:
            value = loss(targets, model(inputs, training=True))  # training=True: the gradient of layers/bptt.py
        gradients = tape.gradient(value, model.trainable_variables)
        norm = tf.linalg.global_norm(gradients)
        if clip:
            gradients, _ = tf.clip_by_global_norm(gradients, clip, use_norm=norm)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return value, norm

    optimizer.build(model.trainable_variables)
    update = tf.function(update, autograph=False, jit_compile=True)
    history = np.array([[float(value) for value in update(*batch)] for batch in batches])
    return history[:, 0], history[:, 1]


def smooth(values, updates: int):
    """Returns the numbers of updates and the means of every so many updates: int[n], float[n]."""
    values = np.asarray(values)[: len(values) // updates * updates].reshape(-1, updates)
    return updates * np.arange(1, len(values) + 1), values.mean(axis=1)


def shrink(png):
    """Reduces a picture to 64 colours, which makes its file about a third as large."""
    with Image.open(png) as picture:
        small = picture.convert("RGB").quantize(64)
    with atomic_write(png, "wb") as file:
        small.save(file, format="png", optimize=True)


def show(numbers: dict):
    """Prints the numbers of a section."""
    for name, value in numbers.items():
        print(f"    {name:<36} {value:.6g}" if isinstance(value, float) else f"    {name:<36} {value}", flush=True)


def run(name: str, folder: Path = FIGURES, short: bool = False) -> tuple[dict, tuple]:
    """Runs a section. Returns its numbers, with the CPU seconds of all cores that it took, and its quotes."""
    section = importlib.import_module(name)
    start, cpu = time.perf_counter(), time.process_time()
    numbers = section.run(folder, short)
    for png in section.FIGURES:
        shrink(folder / png)
    numbers[f"{name}_seconds"] = time.process_time() - cpu
    print(f"{name}: {time.perf_counter() - start:.0f} s, {time.process_time() - cpu:.0f} s of CPU", flush=True)
    return numbers, (*section.QUOTES, f"({name}.py), {{{name}_seconds:.0f}} s")


def main(script: str = ""):
    """Runs the sections of the command line; if a script is given, its section."""
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")  # this allocator can tell the peak of memory (section 6)
    parser = argparse.ArgumentParser(description="Runs the sections of the lecture.")
    if not script:
        parser.add_argument("sections", nargs="*", metavar="SECTION", help="such as 05; all by default")
    parser.add_argument("--short", action="store_true", help="a part of each section, in seconds")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="draw into FOLDER, leave README.md as it is")
    given = parser.parse_args()
    wanted = [Path(script).stem] if script else given.sections
    chosen = [name for name in SECTIONS if not wanted or any(part in name for part in wanted)]
    if not chosen:
        parser.error(f"there is no section {' '.join(wanted)}, expected one of {', '.join(SECTIONS)}")
    if given.short and not given.to:
        given.to = Path(tempfile.mkdtemp())
    for name in chosen:  # rather now than after minutes
        for quote in importlib.import_module(name).QUOTES:
            quotes.find(PAGE.read_text("utf-8"), quote)
    start, found = time.perf_counter(), []
    for name in chosen:
        found.append(run(name, given.to or FIGURES, given.short))
        show(found[-1][0])
    print(f"in all: {time.perf_counter() - start:.0f} s, {time.process_time():.0f} s of CPU")
    if chosen == SECTIONS:
        found.append(({"all_seconds": time.process_time()}, (IN_ALL,)))

    page = PAGE.read_text("utf-8")
    for numbers, of_section in found:
        for line in quotes.differences(page, of_section, numbers):
            print(f"README.md said otherwise: {line}")
        page = quotes.refresh(page, of_section, numbers)
    if given.to:
        print(f"The figures are in {given.to}")
        return
    with atomic_write(PAGE) as file:
        file.write(page)


if __name__ == "__main__":
    main()
