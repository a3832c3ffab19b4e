"""Reads the inputs of `predict` from the command line and from standard input."""

import codecs
import itertools
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence

from pipelines.common.errors import UserError


def read_texts(inputs: Sequence[str]) -> Iterator[str | bytes]:
    """Yields the texts one by one, where "-" stands for the lines of standard input. A text that is not UTF-8 is
    yielded as bytes."""
    for text in inputs:
        if text != "-":
            yield decode(text.encode("utf-8", errors="surrogateescape"))
            continue
        yield from map(decode, standard_input())


def read_names(inputs: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yields (name of a file, None) or (name, why there is no such file), where "-" stands for the names on standard
    input: one per line, or each followed by a NUL character, as `find -print0` writes them. Blank lines are skipped."""
    for given in inputs:
        yield from map(checked, standard_input_names()) if given == "-" else [checked(os.fsencode(given))]


def checked(name: bytes) -> tuple[str, str | None]:
    """Returns (name, None) or (name to show, why it cannot be the name of a file)."""
    error = None
    if isinstance(decode(name), bytes):
        error = utf8_error(name)
    elif not name.strip():
        error = "is empty, expected the name of a file or folder"
    elif b"\0" in name:
        error = "has a NUL character; expected one name per line, or names that all end in NUL"
    return name.decode(errors="replace"), error


def standard_input() -> Iterator[bytes]:
    """Yields the lines of standard input, without their ends and without a byte-order mark."""
    if sys.stdin is None:
        raise UserError("standard input is closed, but the input - stands for its lines")
    try:
        for number, line in enumerate(sys.stdin.buffer):
            yield (line if number else line.removeprefix(codecs.BOM_UTF8)).rstrip(b"\r\n")
    except OSError as error:
        raise UserError(f"standard input could not be read: {error.strerror or error}") from error


def standard_input_names() -> Iterator[bytes]:
    """Yields the names on standard input that are not blank."""
    lines = standard_input()
    for line in lines:
        names = [line]
        if b"\0" in line:  # the rest is read at once: whether the names end in NUL is known at the end only
            text = b"\n".join([line, *lines])
            names = text.split(b"\0" if text.endswith(b"\0") else b"\n")
        yield from (name for name in names if name.strip())


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
