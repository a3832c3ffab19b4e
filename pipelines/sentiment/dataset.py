"""Reviews with labels: read from files, split, turned into ids once, and given out in batches of similar length."""

import dataclasses
import pathlib
import sys

import numpy as np
import tensorflow as tf

from layers.text import PADDING
from pipelines.common import sources
from pipelines.common.batching import FILLER, plan_batches
from pipelines.common.errors import UserError
from pipelines.common.tables import ENDINGS, read_rows
from pipelines.sentiment.config import Config
from pipelines.sentiment.preprocessing import Preprocessing

PARTS = ("train", "validation", "test")
NAMED = {"imdb": ("tfds:imdb_reviews", "https://ai.stanford.edu/~amaas/data/sentiment/")}
TEXTS_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True)
class Reviews:
    """Reviews as they were read.

    `labels` are as in the file, or integers where `names` (of the integers) is known from the layout of the data.
    """

    texts: list[str]
    labels: list[str | int]
    groups: list[str]  # reviews of one group stay on one side of a split
    places: list[str]  # file and line, for messages
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows) -> "Reviews":
        def pick(values):
            return [values[row] for row in rows]

        return Reviews(pick(self.texts), pick(self.labels), pick(self.groups), pick(self.places), self.names)


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Reviews as ids.

    Attributes:
        ids: int32[words], all reviews behind each other.
        splits: int64[reviews + 1], where each begins and ends.
        labels: int32[reviews].
        cut: how many reviews were longer than the limits.
    """

    ids: np.ndarray
    splits: np.ndarray
    labels: np.ndarray
    cut: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """int64[reviews]: words of each review."""
        return np.diff(self.splits)


def load(config: Config) -> dict[str, Reviews]:
    """The parts "train", "validation" and "test" of the config's data.

    A part that the data lacks is split off the training reviews: the share that the config says, whole groups only,
    by the seed alone. So a later call finds the same parts.
    """
    where = sources.locate(config.data, "sentiment", NAMED)
    own = own_parts(where)
    lacking = [part for part in ("test", "validation") if part not in own]
    parts = {part: read(where, part, config, grouped=part == "train" and bool(lacking)) for part in own}
    for part in lacking:
        share = getattr(config, f"{part}_share")
        if share:
            parts["train"], parts[part] = split(parts["train"], share, config.training.seed, config.data)
    return parts


def load_part(config: Config, part: str) -> Reviews:
    """One part of the config's data; a file is one part, whatever it is asked for, unless it is what the run splits."""
    where = sources.locate(config.data, "sentiment", NAMED)
    own = own_parts(where)
    if part in own and not (part == "train" and len(own) < len(PARTS)):
        return read(where, part, config, grouped=False)
    parts = load(config)
    if part not in parts:
        raise UserError(f"--data {config.data} has no part {part}: it has {', '.join(parts)}")
    return parts[part]


def load_all(config: Config, part: str) -> Reviews:
    """The reviews of data that no run was trained on: a file as a whole, of other data the part."""
    where = sources.locate(config.data, "sentiment", NAMED)
    if isinstance(where, pathlib.Path) and where.is_file():
        return read(where, "train", config, grouped=False)
    own = own_parts(where)
    if part not in own:
        raise UserError(f"--data {config.data} has no part {part}: it has {', '.join(own)}")
    return read(where, part, config, grouped=False)


def own_parts(where: pathlib.Path | str) -> tuple[str, ...]:
    """The parts that the data itself has; a single file is all "train"."""
    if isinstance(where, str):
        return ("train", "test")
    if where.is_file():
        return ("train",)
    parts = tuple(part for part in PARTS if (where / part).is_dir() or part_files(where, part))
    if "train" in parts or "test" in parts:
        return parts
    raise UserError(f"{where} holds no reviews: expected train.csv, .tsv or .jsonl (.gz, .xz), or folders train/LABEL/")


def part_files(folder: pathlib.Path, part: str) -> list[pathlib.Path]:
    return [folder / (part + ending) for ending in ENDINGS if (folder / (part + ending)).is_file()]


def read(where: pathlib.Path | str, part: str, config: Config, grouped: bool) -> Reviews:
    """Reads one part. `grouped`: the config's group column is needed, for a split."""
    if isinstance(where, str):
        return read_tfds(where, part, config, grouped)
    if where.is_file():
        return read_file(where, config, grouped)
    files = part_files(where, part)
    if len(files) > 1:
        raise UserError(f"{where} holds both {files[0].name} and {files[1].name}: expected one file for {part}")
    return read_file(files[0], config, grouped) if files else read_folder(where / part, config, grouped)


def read_file(path: pathlib.Path, config: Config, grouped: bool) -> Reviews:
    """Reads a table with a text and a label a row."""
    text, label, group = config.text_column, config.label_column, config.group_column if grouped else ""
    found = Reviews([], [], [], [])
    for line, row in read_rows(path, [text, label, *([group] if group else [])]):
        place = f"{path}, line {line}"
        if not isinstance(row[text], str):
            raise UserError(f"{place}: {text} is {row[text]!r}, expected a string")
        found.texts.append(row[text])
        found.labels.append(as_label(row[label], f"{place}: {label}"))
        found.groups.append(str(row[group]) if group else row[text])
        found.places.append(place)
    return found


def as_label(value, where: str) -> str | int:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    raise UserError(f"{where} is {value!r}, expected a name or an integer")


def read_folder(folder: pathlib.Path, config: Config, grouped: bool) -> Reviews:
    """Reads the layout of aclImdb: a folder for each label (unsup is left out), a file for each review.

    The names `12_7.txt` carry the number of a review; line 12 of `urls_LABEL.txt` beside is its film, which is the
    group when the config has a group column.
    """
    labels = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name != "unsup")
    if not labels:
        raise UserError(f"{folder} holds no folders: expected one for each label, such as pos and neg")
    found = Reviews([], [], [], [], tuple(labels))
    for number, label in enumerate(labels):
        films = film_urls(folder / f"urls_{label}.txt") if grouped and config.group_column else None
        for path in sorted((folder / label).glob("*.txt")):
            try:
                text = path.read_bytes().decode()
            except UnicodeDecodeError as error:
                raise UserError(f"{path}: byte {error.start + 1} is not UTF-8; expected a file in UTF-8") from error
            film = None if films is None else films.get(path.stem.split("_")[0])
            if films is not None and film is None:
                raise UserError(f"{folder / f'urls_{label}.txt'} has no line for the review {path.name}")
            found.texts.append(text)
            found.labels.append(number)
            found.groups.append(film or text)
            found.places.append(str(path))
    if not found.texts:
        raise UserError(f"{folder} is empty: expected reviews as files NUMBER_RATING.txt in {', '.join(labels)}")
    return found


def film_urls(path: pathlib.Path) -> dict[str, str]:
    """Number of a review -> film."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path} could not be read, which names the group of each review: {error.strerror}") from error
    return {str(number): line.removesuffix("usercomments") for number, line in enumerate(lines)}


def read_tfds(name: str, part: str, config: Config, grouped: bool) -> Reviews:
    """Reads a data set of tensorflow-datasets that has a text and a label."""
    builder = sources.prepare_tfds(name.removeprefix(sources.TFDS), config.manual_dir)
    features = builder.info.features
    for column in (config.text_column, config.label_column):
        if column not in features:
            raise UserError(f"{name} has the features {', '.join(features)}: expected {column}")
    group = config.group_column if grouped and config.group_column in features else ""
    if grouped and config.group_column and not group:
        print(f"{name} has no {config.group_column}: the split keeps only equal texts together", file=sys.stderr)
    found = Reviews([], [], [], [], tuple(getattr(features[config.label_column], "names", None) or ()))
    for number, row in enumerate(builder.as_dataset(split=part).as_numpy_iterator()):
        text = row[config.text_column].decode(errors="replace")
        label = row[config.label_column]
        found.texts.append(text)
        found.labels.append(label.decode() if isinstance(label, bytes) else int(label))
        found.groups.append(str(row[group]) if group else text)
        found.places.append(f"{name}, example {number} of {part}")
    return found


def split(reviews: Reviews, share: float, seed: int, where: str) -> tuple[Reviews, Reviews]:
    """(the rest, about `share` of the reviews): whole groups, drawn by the seed; neither side is empty."""
    groups = sorted(set(reviews.groups))
    if len(groups) < 2:
        raise UserError(f"--data {where} cannot be split: all {len(reviews)} training reviews belong to one group")
    sizes = dict.fromkeys(groups, 0)
    for group in reviews.groups:
        sizes[group] += 1
    chosen, taken = set(), 0
    for number in np.random.default_rng(seed).permutation(len(groups))[:-1]:
        if chosen and taken >= share * len(reviews):
            break
        chosen.add(groups[number])
        taken += sizes[groups[number]]
    rest, part = [], []
    for row, group in enumerate(reviews.groups):
        (part if group in chosen else rest).append(row)
    return reviews.take(rest), reviews.take(part)


def join(first: Reviews, second: Reviews) -> Reviews:
    """The reviews of two parts of the same data."""
    lists = ("texts", "labels", "groups", "places")
    return dataclasses.replace(first, **{name: getattr(first, name) + getattr(second, name) for name in lists})


def name_labels(reviews: Reviews, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The labels' names in the order of their ids: those wanted, else those of the data's layout, else the labels
    themselves in the order of numbers or letters."""
    if wanted or reviews.names:
        return wanted or reviews.names
    labels = set(reviews.labels)
    if all(as_integer(label) is not None for label in labels):
        return tuple(str(label) for label in sorted(labels, key=as_integer))
    return tuple(sorted(map(str, labels)))


def as_integer(label: str | int) -> int | None:
    try:
        return int(label)
    except ValueError:
        return None


def label_ids(reviews: Reviews, names: tuple[str, ...]) -> np.ndarray:
    """int32[reviews]: the index of each label in `names`, by name where all are names, else as integers from 0."""
    index = {name: number for number, name in enumerate(names)}
    known = [reviews.names[label] for label in reviews.labels] if reviews.names else list(map(str, reviews.labels))
    if set(known) <= index.keys():
        return np.array([index[name] for name in known], np.int32)
    numbers = [as_integer(label) for label in reviews.labels]
    if all(number is not None for number in numbers):
        wrong = [row for row, number in enumerate(numbers) if not 0 <= number < len(names)]
        if not wrong:
            return np.array(numbers, np.int32)
    else:
        wrong = [row for row, name in enumerate(known) if name not in index]
    raise UserError(
        f"{reviews.places[wrong[0]]}: the label is {reviews.labels[wrong[0]]!r}, expected one of {', '.join(names)}"
        f" (or, throughout, integers from 0 to {len(names) - 1})"
    )


def text_batches(reviews: Reviews) -> tf.data.Dataset:
    """The texts, string[batch]."""
    return tf.data.Dataset.from_tensor_slices(tf.constant(reviews.texts, tf.string)).batch(TEXTS_AT_ONCE)


def encode(reviews: Reviews, preprocessing: Preprocessing, names: tuple[str, ...]) -> Encoded:
    """Reads all texts once, so that an epoch need not."""
    labels = label_ids(reviews, names)
    ids, lengths, cut = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)], 0
    for found, was_cut in text_batches(reviews).map(preprocessing, num_parallel_calls=tf.data.AUTOTUNE):
        ids.append(found.values.numpy())
        lengths.append(found.row_lengths().numpy())
        cut += int(was_cut.numpy().sum())
    return Encoded(np.concatenate(ids), np.concatenate([[0], np.cumsum(np.concatenate(lengths))]), labels, cut)


def batches(
    encoded: Encoded,
    *,
    batch_reviews: int,
    batch_words: int,
    seed: int | None = None,
    epoch: int = 0,
    xla: bool = False,
) -> tf.data.Dataset:
    """Batches of reviews of similar length; all but the last have the same number of reviews unless they are long.

    Each is a dict of `ids` int32[batch, time], `labels` int32[batch], `rows` int64[batch] (the review's number) and
    `real` float32[batch]: 1, or 0 for an empty review that fills up a batch, with the row -1.

    Args:
        batch_reviews: most reviews of a batch.
        batch_words: most words of a batch, padding included.
        seed: with `epoch`, decides the order of the batches and which reviews meet in one; None: longest first.
        xla: let fewer shapes occur, as each is compiled.
    """
    plan = plan_batches(
        encoded.lengths,
        most_rows=batch_reviews,
        most_steps=batch_words,
        seed=seed,
        epoch=epoch,
        shapes_per_octave=4 if xla else 8,
    )
    reviews = tf.RaggedTensor.from_row_splits(encoded.ids, encoded.splits, validate=False)
    labels = tf.constant(encoded.labels)
    sizes = [len(rows) for rows, _ in plan]
    rows = tf.RaggedTensor.from_row_lengths(np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in plan)]), sizes)

    def batch(rows, steps):
        real = rows != FILLER
        taken = tf.where(real, rows, 0)
        ids = tf.gather(reviews, taken).to_tensor(PADDING, shape=tf.stack([-1, steps]))
        return {
            "ids": tf.where(real[:, None], ids, PADDING),
            "labels": tf.gather(labels, taken),
            "rows": rows,
            "real": tf.cast(real, tf.float32),
        }

    steps = tf.constant([steps for _, steps in plan], tf.int64)
    return tf.data.Dataset.from_tensor_slices((rows, steps)).map(batch, num_parallel_calls=2).prefetch(4)
