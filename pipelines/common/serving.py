"""What `predict` does in every pipeline: finds and loads an export, reads what it is given, line by line, and calls the
signature that decodes as it is told."""

import dataclasses
import itertools
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence

import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.options import flag


@dataclasses.dataclass(frozen=True)
class Search:
    """How an export that writes sentences decodes. None: as it does by itself.

    With a temperature, or top_k, top_p or a seed, a sentence is drawn at random; else it is searched for.
    """

    prefix: str = ""
    beam_size: int | None = None
    length_penalty: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    n_best: int = 1
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None

    def __post_init__(self):
        drawn = [name for name in ("temperature", "top_k", "top_p", "seed") if getattr(self, name) is not None]
        searched = [n for n in ("beam_size", "length_penalty", "min_length") if getattr(self, n) is not None]
        if self.n_best > 1:
            searched.append("n_best")
        if drawn and searched:
            raise UserError(f"{flag(drawn[0])} draws at random and {flag(searched[0])} searches: give one of them")
        at_least = {"beam_size": 1, "n_best": 1, "length_penalty": 0, "min_length": 0, "max_length": 1, "top_k": 0}
        for name, least in at_least.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"{flag(name)} is {value}, but must be at least {least}")
        if self.temperature is not None and self.temperature <= 0:
            raise UserError(f"--temperature is {self.temperature}, but must be greater than 0")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"--top-p is {self.top_p}, but must be above 0 and at most 1")

    @property
    def samples(self) -> bool:
        return any(value is not None for value in (self.temperature, self.top_k, self.top_p, self.seed))

    def decode(self, loaded, **inputs) -> dict:
        """What the export's signature `beam` or `sample` says of the inputs, with the export's `defaults` for what is
        not given here."""
        default = {name: value.numpy().item() for name, value in loaded.signatures["defaults"]().items()}
        inputs["prefix"] = tf.constant([self.prefix])
        inputs["max_length"] = tf.constant(default["max_length"] if self.max_length is None else self.max_length)
        if self.samples:
            return loaded.signatures["sample"](
                **inputs,
                temperature=tf.constant(1.0 if self.temperature is None else self.temperature),
                top_k=tf.constant(self.top_k or 0),
                top_p=tf.constant(1.0 if self.top_p is None else self.top_p),
                seed=tf.constant(self.seed or 0),
            )
        beam_size = default["beam_size"] if self.beam_size is None else self.beam_size
        penalty = default["length_penalty"] if self.length_penalty is None else self.length_penalty
        return loaded.signatures["beam"](
            **inputs,
            beam_size=tf.constant(max(beam_size, self.n_best)),
            length_penalty=tf.constant(float(penalty)),
            min_length=tf.constant(self.min_length or 0),
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
