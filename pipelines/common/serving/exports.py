"""What `predict` does in every pipeline: finds and loads an export, reads what it is given, line by line, and calls the
signature that decodes as it is told."""

import itertools
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence

import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.serving.search import Search


def decode(search: Search, loaded, **inputs) -> dict:
    """What the export's signature `beam` or `sample` says of the inputs, with the export's `defaults` for what the
    search leaves open."""
    default = {name: value.numpy().item() for name, value in loaded.signatures["defaults"]().items()}
    inputs["prefix"] = tf.constant([search.prefix])
    inputs["max_length"] = tf.constant(default["max_length"] if search.max_length is None else search.max_length)
    if search.samples:
        return loaded.signatures["sample"](
            **inputs,
            temperature=tf.constant(1.0 if search.temperature is None else search.temperature),
            top_k=tf.constant(search.top_k or 0),
            top_p=tf.constant(1.0 if search.top_p is None else search.top_p),
            seed=tf.constant(search.seed or 0),
        )
    beam_size = default["beam_size"] if search.beam_size is None else search.beam_size
    penalty = default["length_penalty"] if search.length_penalty is None else search.length_penalty
    return loaded.signatures["beam"](
        **inputs,
        beam_size=tf.constant(max(beam_size, search.n_best)),
        length_penalty=tf.constant(float(penalty)),
        min_length=tf.constant(search.min_length or 0),
    )


def load(model: pathlib.Path, task: str, outputs: set[str]):
    """The SavedModel of a run or of an export.

    Args:
        model: a run that was exported, or the export's folder.
        task: the pipeline's name.
        outputs: names that its `serving_default` gives.

    Raises:
        UserError: there is no export, it is damaged, or another pipeline's.
    """
    export = find(model, task)
    try:
        loaded = tf.saved_model.load(str(export))
    except Exception as error:  # TensorFlow has no common class for what a damaged file may cause
        raise UserError(f"{export} cannot be loaded: {(str(error) or type(error).__name__).splitlines()[0]}") from error
    signature = loaded.signatures.get("serving_default")
    if signature is None or set(signature.structured_outputs) != outputs:
        raise UserError(f"{export} is no export of the pipeline {task}: expected one that gives {listed(outputs)}")
    return loaded


def listed(names: set[str]) -> str:
    *first, last = sorted(names)
    return f"{', '.join(first)} and {last}" if first else last


def find(model: pathlib.Path, task: str) -> pathlib.Path:
    """The folder of the SavedModel; UserError when there is none."""
    for folder in (model, model / "export"):
        if (folder / "saved_model.pb").is_file():
            return folder
    if (model / "config.json").is_file():
        raise UserError(f"{model} has no export yet: make it with python -m pipelines.{task} export --run {model}")
    raise UserError(f"--model {model} is neither a run nor an export: expected a folder that export wrote")


def read_texts(inputs: Sequence[str]) -> Iterator[str | bytes]:
    """The texts one by one, "-" standing for the lines of standard input; bytes where they are not UTF-8."""
    for text in inputs:
        if text != "-":
            yield decoded(text.encode("utf-8", errors="surrogateescape"))
            continue
        for line in sys.stdin.buffer:
            yield decoded(line.rstrip(b"\r\n"))


def decoded(text: bytes) -> str | bytes:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


def fault(text: bytes) -> str:
    """What is wrong with a text that is not UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1} is 0x{text[error.start]:02x}, which is not UTF-8"
    raise ValueError("the text is in order")


def batches(inputs: Iterable, size: int) -> Iterator[list]:
    """Many inputs at once; one by one from a terminal, so that each is answered when it is typed."""
    size = 1 if sys.stdin is not None and sys.stdin.isatty() else size
    inputs = iter(inputs)
    while batch := list(itertools.islice(inputs, size)):
        yield batch


def numbered(picture: pathlib.Path, number: int) -> pathlib.Path:
    """The picture of the number-th input: the first has the name itself, the second NAME-2.png."""
    return picture if number == 1 else picture.with_stem(f"{picture.stem}-{number}")
