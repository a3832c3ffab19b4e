"""Reads CSV, TSV and JSON-lines files, plain or compressed, and labels in them; every error names the place."""

import collections
import contextlib
import csv
import gzip
import lzma
import pathlib
import re
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence

from pipelines.common.errors import UserError
from pipelines.common.files import parse_json

FORMATS = (".csv", ".tsv", ".jsonl")
COMPRESSIONS: dict[str, Callable] = {"": open, ".gz": gzip.open, ".xz": lzma.open}
ENDINGS = tuple(kind + packed for kind in FORMATS for packed in COMPRESSIONS)
MAX_CELL_BYTES = 1 << 30  # the default of the csv module is 128 KB
WHOLE_NUMBER = re.compile(r"(-?[0-9]+)\.0+")


def read_rows(path, columns: Sequence[str], quoting: bool = False) -> Iterator[tuple[int, dict]]:
    """Yields (line, row) for each row of a table; a row has at least the fields `columns`.

    CSV and TSV start with a line of column names, and their values are strings. A JSON-lines file has one object per
    line, with values of any type. Blank lines are skipped. The text is UTF-8, with or without a byte-order mark.

    Args:
        quoting: whether quotation marks enclose fields in TSV, as they always do in CSV.

    Raises:
        UserError: The file is missing, empty, damaged, not UTF-8 or of another format, or a column or field is missing
            or occurs twice.
    """
    path = pathlib.Path(path)
    kind = format_of(path)
    rows = read_objects(path, columns) if kind == ".jsonl" else read_table(path, kind, columns, quoting)
    empty = True
    for line, row in rows:
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
    with contextlib.closing(read_byte_lines(path)) as lines:
        for number, line in enumerate(lines, start=1):
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                found = line[error.start]
                raise UserError(
                    f"{path}, line {number}: byte {error.start + 1} of the line is 0x{found:02x}, which is not UTF-8;"
                    " expected a file in UTF-8"
                ) from error
            yield text


def read_byte_lines(path: pathlib.Path) -> Generator[bytes]:
    """Yields the lines of a file with their ends, without a byte-order mark; UserError if it is missing or damaged."""
    number = 0
    try:
        with COMPRESSIONS.get(path.suffix.lower(), open)(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                yield line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is damaged after line {number}: {error}") from error
    except OSError as error:
        raise UserError(f"{path} could not be read: {error.strerror or error}") from error


def read_table(path: pathlib.Path, kind: str, columns: Sequence[str], quoting: bool) -> Iterator[tuple[int, dict]]:
    """Yields the rows of a CSV or TSV file, with the line at which each one starts."""
    with contextlib.closing(read_cells(path, ",", True) if kind == ".csv" else read_cells(path, "\t", quoting)) as rows:
        first, header = next(rows, (1, None))
        if header is None:
            return
        place = f"{path}, line {first}"
        require(columns, header, place, "columns")
        for name, count in collections.Counter(header).items():
            if name and count > 1:
                raise UserError(f"{place}: {count} columns have the name {name}; expected each name once")
        for line, cells in rows:
            if len(cells) != len(header):
                hint = " (fields that are enclosed in quotation marks need --quoting)"
                raise UserError(
                    f"{path}, line {line}: {len(cells)} cells, expected {len(header)} as in the header"
                    f"{hint if kind == '.tsv' and not quoting else ''}"
                )
            yield line, dict(zip(header, cells, strict=True))


def read_cells(path: pathlib.Path, delimiter: str = "\t", quoting: bool = False) -> Generator[tuple[int, list[str]]]:
    """Yields the cells of each row that is not blank, with the line at which the row starts.

    Args:
        quoting: whether quotation marks enclose a cell that begins with one. Such a cell may have several lines.
    """
    with contextlib.closing(read_lines(path)) as lines:
        if quoting:
            yield from read_quoted(path, lines, delimiter)
            return
        for number, line in enumerate(lines, start=1):
            if row := line.rstrip("\r\n"):
                yield number, row.split(delimiter)


def read_quoted(path: pathlib.Path, lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yields what `read_cells` does, where quotation marks enclose cells."""
    csv.field_size_limit(MAX_CELL_BYTES)
    row: list[str] = []  # the lines of the current row

    def remembered():
        for line in lines:
            row.append(line)
            yield line

    line = 1
    rows = csv.reader(remembered(), delimiter=delimiter, strict=True)
    try:
        for cells in rows:
            if cells:
                yield line, cells
            line = rows.line_num + 1
            row.clear()
    except csv.Error as error:
        text = "".join(row)
        opens = last_field(text, delimiter)
        if not text.startswith('"', opens):
            raise UserError(f"{path}, line {line}: {error}") from error
        opening_line = line + text.count("\n", 0, opens)
        raise UserError(
            f"{path}, line {opening_line}: the quotation mark that opens a field here is never closed, or not at the"
            ' end of the field; expected one there, and "" for a quotation mark inside the field'
        ) from error


def last_field(text: str, delimiter: str) -> int:
    """Returns where, in the text of a row, the first field begins that no delimiter ends."""
    field = re.compile(f'"(?:[^"]|"")*"{delimiter}|(?!")[^{delimiter}]*{delimiter}')
    place = 0
    while match := field.match(text, place):
        place = match.end()
    return place


def read_objects(path: pathlib.Path, columns: Sequence[str]) -> Iterator[tuple[int, dict]]:
    """Yields the objects of a JSON-lines file, with their lines."""
    with contextlib.closing(read_lines(path)) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = parse_json(line)
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


def as_name(value) -> str:
    """Returns the value of a cell or JSON field as a name: without white space around it; 1, "1" and 1.0 are "1"."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    name = str(value).strip()
    whole = WHOLE_NUMBER.fullmatch(name)  # pandas writes integers so if a row of the column is empty
    return whole[1] if whole else name


def as_label(value, where: str) -> str:
    """Returns the name of a label. Raises UserError for what cannot be one: an empty string, NaN, null, 1.5, a list."""
    name = as_name(value) if isinstance(value, str | int | float) else ""
    if not name or name.lower() == "nan" or (isinstance(value, float) and not value.is_integer()):
        raise UserError(f"{where} is {value!r}, expected a name or an integer")
    return name
