"""Reads the inputs of `predict` from the command line and from standard input."""

import itertools
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence


def read_texts(inputs: Sequence[str]) -> Iterator[str | bytes]:
    """Yields the texts one by one, where "-" stands for the lines of standard input. A text that is not UTF-8 is
    yielded as bytes."""
    for text in inputs:
        if text != "-":
            yield decode(text.encode("utf-8", errors="surrogateescape"))
            continue
        for line in sys.stdin.buffer:
            yield decode(line.rstrip(b"\r\n"))


def decode(text: bytes) -> str | bytes:
    """Returns the text as a string, or unchanged if it is not UTF-8."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


def utf8_error(text: bytes) -> str:
    """Returns a description of the first byte that makes the text invalid UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1} is 0x{text[error.start]:02x}, which is not UTF-8"
    raise ValueError(f"{text!r} is valid UTF-8")


def batches(inputs: Iterable, size: int) -> Iterator[list]:
    """Yields batches of the inputs. On a terminal a batch is one input, so that each is answered when it is typed."""
    size = 1 if sys.stdin is not None and sys.stdin.isatty() else size
    inputs = iter(inputs)
    while batch := list(itertools.islice(inputs, size)):
        yield batch


def numbered(picture: pathlib.Path, number: int) -> pathlib.Path:
    """Returns the file for the picture of the number-th input: the first is `picture`, the second NAME-2.png."""
    return picture if number == 1 else picture.with_stem(f"{picture.stem}-{number}")
