"""Writes text files that are the same on every platform."""

from collections.abc import Iterable
from pathlib import Path


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes lines in UTF-8, each ending with a line feed, also on Windows. Creates the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), "utf-8", newline="\n")
