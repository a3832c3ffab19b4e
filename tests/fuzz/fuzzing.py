"""Fuzzing of readers: the property that all have, and strategies for input that is nearly right."""

import contextlib
import gzip
import json
import os
import pathlib
import signal
import sys
import tempfile
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.common.errors import UserError

SECONDS = 20  # after which a reader hangs
TEMPORARY = os.path.realpath(tempfile.gettempdir())
WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree"}
recorders: list[list[str]] = []

# Bytes that have a meaning in one of the formats, or that none expects.
TOKENS = (
    *(b'"', b"'", b"\t", b"\n", b"\r", b"\r\n", b"\0", b",", b";", b":", b"#", b"\\", b" ", b"{", b"}", b"[", b"]"),
    *(b"null", b"true", b"NaN", b"nan", b"inf", b"-1", b"0", b"1.0", b"1e999", b"9" * 5000, b"\\ud83d", b'"a":1,'),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\xff", b"\xc3", b"\xed\xa0\xbd", "²".encode(), "٣".encode(), "\u2028".encode()),
    *(b"..", b"/", b"//", b"/dev/null", b"~", b"*", b"a" * 300, b"[" * 20_000, b'{"a":' * 20_000),
)
NAMES = ("", " ", "a", "nan", "null", "None", "1", "1.0", "-1", "inf", "/", "..", "a/b", "~", "é", "\ud83d", "a\0b")
TEXTS = st.sampled_from([*NAMES, "a" * 300]) | st.text(max_size=6)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=5
)


def answers_or_refuses(read: Callable, *arguments):
    """Checks that a reader returns, or raises UserError with a message; and that it neither hangs nor writes."""
    with time_limit(), recorded_writes() as writes:
        try:
            read(*arguments)
        except UserError as error:
            assert str(error).strip()
    assert not writes


@contextlib.contextmanager
def time_limit():
    """Raises TimeoutError in a block that takes longer than SECONDS."""

    def stop(*unused):
        raise TimeoutError(f"no answer in {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def recorded_writes():
    """Yields a list of what the block creates, changes or removes outside of the folder of temporary files."""
    writes: list[str] = []
    recorders.append(writes)
    try:
        yield writes
    finally:
        recorders.remove(writes)


def record(event: str, arguments: tuple):
    """Audit hook: appends the writes of this process to `recorders`."""
    if not recorders:
        return
    flags = arguments[2] if event == "open" else os.O_WRONLY if event in WRITES else 0
    path = arguments[0]
    if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and isinstance(path, str | bytes | os.PathLike):
        path = os.path.realpath(os.fsdecode(path))
        if path != os.devnull and os.path.commonpath([path, TEMPORARY]) != TEMPORARY:
            recorders[-1].append(f"{event} {path}")


sys.addaudithook(record)


def check(strategy: st.SearchStrategy, holds: Callable, examples: int, derandomize: bool):
    """Runs `holds` on examples of a strategy, in a new folder each, which is the first argument."""

    @settings(
        max_examples=examples,
        derandomize=derandomize,
        database=None,
        deadline=None,  # the time limit of `answers_or_refuses` is less sensitive to load
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def each(example):
        with tempfile.TemporaryDirectory() as folder:
            holds(pathlib.Path(folder), example)

    each()


# Strategies -----------------------------------------------------------------------------------------------------------


@st.composite
def damaged(draw, *good: bytes) -> bytes:
    """One of the good contents after a few edits; now and then other bytes altogether."""
    content = draw(st.sampled_from(good))
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=60) | st.lists(st.sampled_from(TOKENS), max_size=6).map(b"".join))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(content)))
        end = start + draw(st.sampled_from([0, 0, 1, 4, 16, len(content)]))
        content = content[:start] + draw(st.sampled_from(TOKENS) | st.binary(max_size=4)) + content[end:]
    return content


@st.composite
def bent(draw, good):
    """A JSON value of the shape of the good one, in which a few values and names are replaced or left out."""
    if draw(st.integers(0, 11)) == 0:
        return draw(JSON)
    if isinstance(good, dict):
        fields = {name: draw(bent(value)) for name, value in good.items() if draw(st.integers(0, 19))}
        return fields if draw(st.integers(0, 9)) else fields | draw(st.dictionaries(TEXTS, JSON, max_size=1))
    return [draw(bent(value)) for value in good] if isinstance(good, list) else good


def bent_json(good) -> st.SearchStrategy[bytes]:
    """A JSON file of nearly the right shape: half of them of bent values, half damaged as bytes."""
    content = json.dumps(good).encode()
    return bent(good).map(lambda value: json.dumps(value).encode()) | damaged(content)


@st.composite
def trees(draw, *good: dict[str, st.SearchStrategy[bytes] | bytes]) -> dict[str, bytes | None]:
    """One of the good trees, name -> content, in which files are damaged, renamed, left out, or folders (None)."""
    tree = draw(st.sampled_from(good))
    names = [name for each in good for name in each]
    result: dict[str, bytes | None] = {}
    for name, content in tree.items():
        what = draw(st.sampled_from(["good"] * 6 + ["damaged", "damaged", "damaged", "left out", "folder", "renamed"]))
        whole = content if isinstance(content, bytes) else draw(content)
        if what == "renamed":
            ending = pathlib.PurePath(name).suffix
            part = st.sampled_from(["", ".gz", ".xz", "/a.txt", ".ipynb_checkpoints/a.txt", "*", "é", "\udcff", ending])
            name = draw(st.sampled_from(names) | part.map(lambda end, name=name: name + end))
        if what != "left out":
            result[name] = None if what == "folder" else draw(damaged(whole)) if what == "damaged" else whole
    return result


def write_tree(folder: pathlib.Path, tree: dict[str, bytes | None]):
    """Writes a tree. A name whose folder is a file already is left out; half of the .gz are really compressed."""
    for name, content in tree.items():
        with contextlib.suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
            path = folder / name
            if content is None:
                path.mkdir(parents=True, exist_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(gzip.compress(content, 0) if name.endswith(".gz") and len(content) % 2 else content)
