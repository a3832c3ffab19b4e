"""Reads CSV, TSV and JSON-lines files, plain or compressed; every error names the file and the line."""

import contextlib
import csv
import gzip
import json
import lzma
import pathlib
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence

from pipelines.common.errors import UserError

FORMATS = (".csv", ".tsv", ".jsonl")
COMPRESSIONS: dict[str, Callable] = {"": open, ".gz": gzip.open, ".xz": lzma.open}
ENDINGS = tuple(kind + packed for kind in FORMATS for packed in COMPRESSIONS)
MAX_CELL_BYTES = 1 << 30  # the default of the csv module is 128 KB


def read_rows(path, columns: Sequence[str]) -> Iterator[tuple[int, dict]]:
    """Yields (line, row) for each row of a table; a row has at least the fields `columns`.

    CSV and TSV start with a line of column names, and their values are strings. A JSON-lines file has one object per
    line, with values of any type. Blank lines are skipped. The text is UTF-8, with or without a byte-order mark.

    Raises:
        UserError: The file is missing, empty, damaged, not UTF-8 or of another format, or a column or field is missing.
    """
    path = pathlib.Path(path)
    kind = format_of(path)
    read = read_objects if kind == ".jsonl" else read_cells
    empty = True
    for line, row in read(path, kind, columns):
        empty = False
        yield line, row
    if empty:
        raise UserError(f"{path} is empty: expected rows with {' and '.join(columns)}")


def format_of(path: pathlib.Path) -> str:
    """Returns ".csv", ".tsv" or ".jsonl", by the name of the file; raises UserError for another name."""
    endings = [suffix.lower() for suffix in path.suffixes[-2:]]
    if endings and endings[-1] in (".gz", ".xz"):
        endings.pop()
    if not endings or endings[-1] not in FORMATS:
        raise UserError(f"{path} has an unknown format: expected a name that ends in {', '.join(ENDINGS)}")
    return endings[-1]


def read_lines(path: pathlib.Path) -> Generator[str]:
    """Yields the lines of a text file with their ends, each decoded by itself so that an error can name the line."""
    number = 0
    try:
        with COMPRESSIONS.get(path.suffix.lower(), open)(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                yield line.removeprefix(b"\xef\xbb\xbf").decode() if number == 1 else line.decode()
    except UnicodeDecodeError as error:
        found = error.object[error.start]
        raise UserError(
            f"{path}, line {number}: byte {error.start + 1} of the line is 0x{found:02x}, which is not UTF-8;"
            " expected a file in UTF-8"
        ) from error
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is damaged after line {number}: {error}") from error
    except OSError as error:
        raise UserError(f"{path} could not be read: {error.strerror or error}") from error


def read_cells(path: pathlib.Path, kind: str, columns: Sequence[str]) -> Iterator[tuple[int, dict]]:
    """Yields the rows of a CSV or TSV file, with the line at which each one starts."""
    csv.field_size_limit(MAX_CELL_BYTES)
    with contextlib.closing(read_lines(path)) as lines:
        rows = csv.reader(lines, delimiter="," if kind == ".csv" else "\t", strict=True)
        try:
            header = next(rows, None)
            if header is None:
                return
            require(columns, header, f"{path}, line 1", "columns")
            line = rows.line_num + 1
            for cells in rows:
                if cells and len(cells) != len(header):
                    raise UserError(f"{path}, line {line}: {len(cells)} cells, expected {len(header)} as in the header")
                if cells:
                    yield line, dict(zip(header, cells, strict=True))
                line = rows.line_num + 1
        except csv.Error as error:
            raise UserError(f"{path}, line {rows.line_num}: {error}") from error


def read_objects(path: pathlib.Path, kind: str, columns: Sequence[str]) -> Iterator[tuple[int, dict]]:
    """Yields the objects of a JSON-lines file, with their lines."""
    with contextlib.closing(read_lines(path)) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"{path}, line {number}: not JSON ({error}); expected one object per line") from error
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number}: {line.strip()[:40]} is not a JSON object with {columns[0]}")
            require(columns, row, f"{path}, line {number}", "fields")
            yield number, row


def require(columns: Sequence[str], found, where: str, kind: str):
    missing = [column for column in columns if column not in found]
    if missing:
        raise UserError(
            f"{where}: has the {kind} {', '.join(map(repr, found)) or '(none)'}, but {' and '.join(missing)}"
            f" {'is' if len(missing) == 1 else 'are'} missing; expected {', '.join(columns)}"
        )
