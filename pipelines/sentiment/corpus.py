"""What a language model reads: the training and the unlabelled reviews of a data set, or the lines of a text file."""

import pathlib
from collections.abc import Iterator

from pipelines.common.data import sources
from pipelines.common.data.tables import COMPRESSIONS, read_lines
from pipelines.common.errors import UserError
from pipelines.sentiment import dataset, splits
from pipelines.sentiment.pretraining_config import PretrainingConfig
from pipelines.sentiment.reviews import Reviews, join

TEXT_FILE = ".txt"


def load(config: PretrainingConfig) -> dict[str, Reviews]:
    """The parts "train" and "validation" of the config's data.

    They are the parts that a classifier with the same fields about the data is given, and "train" has the unlabelled
    reviews beside, without those of the films (groups) and texts that are held out. No test review is read.

    Raises:
        UserError: the data is not there, has a fault, or nothing is held out.
    """
    where = sources.locate(config.data, "sentiment", dataset.NAMED)
    if isinstance(where, pathlib.Path) and where.is_file() and is_text(where):
        lines = read_text(where, config.max_characters)
        train, held_out = splits.split(lines, config.validation_share, config.split_seed, config.data)
        return {"train": train, "validation": held_out}
    parts = dataset.load(config, labelled=False)
    if "validation" not in parts:
        raise UserError(f"--data {config.data} has no part validation: expected one, or a --validation-share above 0")
    unlabelled = dataset.load_unlabelled(config, parts)
    if unlabelled is not None:
        parts["train"] = join(parts["train"], unlabelled)
    return {part: parts[part] for part in ("train", "validation")}


def is_text(path: pathlib.Path) -> bool:
    """Whether a file is plain text, by its name: .txt, maybe compressed."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    return suffixes[-1:] == [TEXT_FILE] or (suffixes[:1] == [TEXT_FILE] and suffixes[-1] in COMPRESSIONS)


def read_text(path: pathlib.Path, max_characters: int) -> Reviews:
    """Reads a text file, each line that is not blank as a text of its own; a longer line than max_characters as
    several, so that nothing of it is lost."""
    found = Reviews([], [], [], [])
    for number, line in enumerate(read_lines(path), start=1):
        for piece in pieces(line.strip(), max_characters):
            found.texts.append(piece)
            found.labels.append("")
            found.groups.append(piece)
            found.places.append(f"{path}, line {number}")
    if not found.texts:
        raise UserError(f"{path} is empty: expected lines of text")
    return found


def pieces(line: str, longest: int) -> Iterator[str]:
    """The line in pieces of at most so many characters, cut at spaces where there are any."""
    start = 0
    while len(line) - start > longest:
        end = line.rfind(" ", start + 1, start + longest + 1)
        end = start + longest if end < 0 else end
        yield line[start:end]
        start = end
    if line[start:]:
        yield line[start:]
