"""Labels for texts, by an export alone: TensorFlow and pictures, no training code."""

import itertools
import json
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence

import tensorflow as tf

from pipelines.common import pictures
from pipelines.common.errors import UserError

TEXTS_AT_ONCE = 64


def predict(model: pathlib.Path, inputs: Sequence[str], picture: pathlib.Path | None = None) -> int:
    """Writes one JSON object a text to standard output: text, label, probability; gives the exit status.

    Args:
        model: an export, or a run that has one.
        inputs: the texts; "-" stands for the lines of standard input.
        picture: where to draw what the model made of each text; of several texts, the second goes to NAME-2.png.

    A text that is not UTF-8 gives an object with `error`, and the exit status 1.
    """
    export = find_export(model)
    loaded = load(export)
    classify, explain = loaded.signatures["serving_default"], loaded.signatures["explain"]
    status, number = 0, 0
    for batch in batches(read_texts(inputs)):
        good = [text for text in batch if isinstance(text, str)]
        answers = iter(answer(classify, good))
        for text in batch:
            number += 1
            if isinstance(text, str):
                print(json.dumps(next(answers), ensure_ascii=False))
            else:
                print(json.dumps({"text": text.decode(errors="replace"), "error": broken(text)}, ensure_ascii=False))
                status = 1
            if picture and isinstance(text, str):
                draw(explain, text, numbered(picture, number))
        sys.stdout.flush()
    return status


def find_export(model: pathlib.Path) -> pathlib.Path:
    """The folder of the SavedModel; UserError when there is none."""
    for folder in (model, model / "export"):
        if (folder / "saved_model.pb").is_file():
            return folder
    if (model / "config.json").is_file():
        raise UserError(f"{model} has no export yet: make it with python -m pipelines.sentiment export --run {model}")
    raise UserError(f"--model {model} is neither a run nor an export: expected a folder that export wrote")


def load(export: pathlib.Path):
    try:
        loaded = tf.saved_model.load(str(export))
    except Exception as error:  # TensorFlow has no common class for what a damaged file may cause
        raise UserError(f"{export} cannot be loaded: {(str(error) or type(error).__name__).splitlines()[0]}") from error
    signature = loaded.signatures.get("serving_default")
    if signature is None or set(signature.structured_outputs) != {"label", "probability", "probabilities"}:
        raise UserError(
            f"{export} is no export of the pipeline sentiment: expected one that gives label and probability"
        )
    return loaded


def read_texts(inputs: Sequence[str]) -> Iterator[str | bytes]:
    """The texts one by one; bytes where they are not UTF-8."""
    for text in inputs:
        if text != "-":
            yield checked(text.encode("utf-8", errors="surrogateescape"))
            continue
        for line in sys.stdin.buffer:
            yield checked(line.rstrip(b"\r\n"))


def checked(text: bytes) -> str | bytes:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


def broken(text: bytes) -> str:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1} is 0x{text[error.start]:02x}, which is not UTF-8"
    raise ValueError("the text is in order")


def batches(texts: Iterable) -> Iterator[list]:
    """Many texts at once; one by one from a terminal, so that each is answered when it is typed."""
    size = 1 if sys.stdin is not None and sys.stdin.isatty() else TEXTS_AT_ONCE
    texts = iter(texts)
    while batch := list(itertools.islice(texts, size)):
        yield batch


def answer(classify, texts: list[str]) -> list[dict]:
    if not texts:
        return []
    found = classify(text=tf.constant(texts))
    return [
        {"text": text, "label": label.decode(), "probability": round(float(probability), 6)}
        for text, label, probability in zip(texts, found["label"].numpy(), found["probability"].numpy(), strict=True)
    ]


def draw(explain, text: str, png: pathlib.Path):
    """The text's words in reading order, the probability after each one, and the gates over the words."""
    found = {name: value.numpy() for name, value in explain(text=tf.constant([text])).items()}
    words = [word.decode() for word in found.pop("tokens")[0]]
    probability, classes = found.pop("probability")[0], [name.decode() for name in found.pop("classes")]
    pictures.words_with_probability(words, probability, classes, {name: gate[0] for name, gate in found.items()}, png)


def numbered(picture: pathlib.Path, number: int) -> pathlib.Path:
    return picture if number == 1 else picture.with_stem(f"{picture.stem}-{number}")
