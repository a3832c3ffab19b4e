"""Loads reviews in parts, encodes them as word ids once, and batches reviews of similar length."""

import contextlib
import dataclasses
import pathlib
import sys

import numpy as np
import tensorflow as tf

from layers.text import PADDING
from pipelines.common.config import flag
from pipelines.common.data.batching import FILLER, plan_batches
from pipelines.common.data.labels import as_name
from pipelines.common.data.loading import encode_texts, without_autograph, without_autotune
from pipelines.common.data.splits import split
from pipelines.common.errors import UserError
from pipelines.sentiment.preprocessing import Preprocessing
from pipelines.sentiment.reviews import PARTS, Reviews, locate, own_parts, read, read_unlabelled
from pipelines.sentiment.text_config import DataConfig

# Parts ----------------------------------------------------------------------------------------------------------------


def load(data: DataConfig, labelled: bool = True) -> dict[str, Reviews]:
    """Loads the parts "train", "validation" and "test".

    A part that the data does not have is split off the training reviews, by --split-seed only, so that a later call
    finds the same parts.

    Args:
        labelled: False for a language model, which needs no labels and does not read a test part.
    """
    where = locate(data)
    own = own_parts(where)
    if "train" not in own:
        raise UserError(f"--data {data.location} has no part train: it has {', '.join(own)}")
    missing = [part for part in ("test", "validation") if part not in own]
    parts = {
        part: read(where, part, data, grouped=part == "train" and bool(missing), labelled=labelled)
        for part in own
        if labelled or part != "test"
    }
    for part in missing:
        share = getattr(data, f"{part}_share")
        if share:
            parts["train"], parts[part] = split_off(parts["train"], share, data)
    return parts


def split_off(reviews: Reviews, share: float, data: DataConfig) -> tuple[Reviews, Reviews]:
    """Returns the remaining reviews and about this share of them, in whole groups."""
    expected = "training reviews of two groups or more"
    rest, rows = split(reviews.groups, share * len(reviews), data.split_seed, data.location, expected)
    return reviews.take(rest), reviews.take(rows)


def load_part(data: DataConfig, part: str) -> Reviews:
    """Loads one part of the data of a run."""
    where = locate(data)
    own = own_parts(where)
    if part in own and not (part == "train" and len(own) < len(PARTS)):  # nothing is split off this part
        return read(where, part, data, grouped=False)
    parts = load(data)
    if part not in parts:
        raise UserError(f"--data {data.location} has no part {part}: it has {', '.join(parts)}")
    return parts[part]


def load_all(data: DataConfig, part: str) -> Reviews:
    """Loads data that is not that of the run: all of a file, or the part of a folder."""
    where = locate(data)
    if isinstance(where, pathlib.Path) and where.is_file():
        return read(where, "train", data, grouped=False)
    own = own_parts(where)
    if part not in own:
        raise UserError(f"--data {data.location} has no part {part}: it has {', '.join(own)}")
    return read(where, part, data, grouped=False)


def load_unlabelled(data: DataConfig, parts: dict[str, Reviews]) -> Reviews | None:
    """Loads the unlabelled reviews. Returns None if the data has none.

    A review is left out if its text is in any of `parts`, as `load` returned them, but "train"; or if its group is in
    "validation", or in "test" where that was split off the training reviews. (The groups of a test part that the data
    itself has are usually not known.)
    """
    where = locate(data)
    unlabelled = read_unlabelled(where, data)
    if unlabelled is None:
        return None
    own = own_parts(where)
    texts = {text for part, reviews in parts.items() if part != "train" for text in reviews.texts}
    held_out = [reviews for part, reviews in parts.items() if part == "validation" or part not in own]
    groups = {group for reviews in held_out for group in reviews.groups}
    rows = [
        row
        for row, (group, text) in enumerate(zip(unlabelled.groups, unlabelled.texts, strict=True))
        if group not in groups and text not in texts
    ]
    if len(rows) < len(unlabelled):
        left_out = len(unlabelled) - len(rows)
        print(f"unlabelled: left out {left_out:,} reviews of films or texts that are held out", file=sys.stderr)
    return unlabelled.take(rows)


def refuse_other_split(data: DataConfig, other: DataConfig, name: str):
    """Raises UserError if another run has read the same data with other reviews held out.

    Args:
        data: of the new run.
        other: of the other run.
        name: of the other run, for the message.
    """
    if not same_data(data, other):
        return
    for field in ("group_column", "validation_share", "test_share", "split_seed"):
        if getattr(data, field) != getattr(other, field):
            raise UserError(
                f"{flag(field)} is {getattr(data, field)!r}, but {getattr(other, field)!r} in {name}, which has read"
                " the same data: it may have read what is held out here"
            )


def same_data(data: DataConfig, other: DataConfig) -> bool:
    """Returns whether two configurations have the same --data, however it is written."""
    places = []
    for each in (data, other):
        place: pathlib.Path | str = each.location
        with contextlib.suppress(UserError):  # it no longer exists: compare the names
            place = locate(each)
        places.append(place.resolve() if isinstance(place, pathlib.Path) else place)
    return data.location == other.location or places[0] == places[1]


# Labels ---------------------------------------------------------------------------------------------------------------


def name_labels(reviews: Reviews, label_names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names of the labels in the order of their ids: `label_names` if given, else those of the layout of
    the data, else the labels themselves, sorted as numbers or strings."""
    if label_names or reviews.names:
        return label_names or reviews.names
    labels = set(map(str, reviews.labels))
    integers = all(as_integer(label) is not None for label in labels)
    return tuple(sorted(labels, key=int if integers else str))


def as_integer(label: str | int) -> int | None:
    """Returns the integer that a label is, or None."""
    try:
        return int(label)
    except ValueError:
        return None


def label_ids(reviews: Reviews, names: tuple[str, ...]) -> np.ndarray:
    """Returns int32[reviews], the index of each label in `names`: by name if all labels are among the names, otherwise
    as integers from 0.

    If the layout of the data has names for the integers, they are only taken as indices where as many names are
    expected: `pos` and `neg` may have other names here.
    """
    index = {as_name(name): number for number, name in enumerate(names)}
    known = [reviews.names[int(label)] for label in reviews.labels] if reviews.names else list(map(str, reviews.labels))
    if set(known) <= index.keys():
        return np.array([index[name] for name in known], np.int32)
    numbers = [as_integer(label) for label in reviews.labels]
    if len(reviews.names) in (0, len(names)) and all(number is not None for number in numbers):
        wrong = [row for row, number in enumerate(numbers) if number is None or not 0 <= number < len(names)]
        if not wrong:
            return np.array(numbers, np.int32)
    else:
        wrong = [row for row, name in enumerate(known) if name not in index]
    raise UserError(
        f"{reviews.places[wrong[0]]}: the label is {known[wrong[0]]!r}, expected one of {', '.join(names)}"
        f" (or, throughout, integers from 0 to {len(names) - 1})"
    )


# Word ids -------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Texts:
    """Reviews as word ids.

    Attributes:
        ids: int32[words], the words of all reviews, one review after the other.
        splits: int64[reviews + 1], where each review begins and ends.
        cut: number of reviews that were longer than the limits.
    """

    ids: np.ndarray
    splits: np.ndarray
    cut: int

    def __len__(self) -> int:
        return len(self.splits) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64[reviews], the number of words of each review."""
        return np.diff(self.splits)


@dataclasses.dataclass(frozen=True)
class LabelledTexts(Texts):
    """Reviews as word ids, with their targets.

    Attributes:
        targets: float32[reviews, classes], the probability of each label: 1 for the label of a labelled review.
    """

    targets: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """int32[reviews], the most probable label of each review."""
        return self.targets.argmax(axis=1).astype(np.int32)

    def __add__(self, other: "LabelledTexts") -> "LabelledTexts":
        return LabelledTexts(
            np.concatenate([self.ids, other.ids]),
            np.concatenate([self.splits, self.splits[-1] + other.splits[1:]]),
            self.cut + other.cut,
            np.concatenate([self.targets, other.targets]),
        )


def encode(reviews: Reviews, preprocessing: Preprocessing) -> Texts:
    """Encodes reviews once, so that an epoch does not have to."""
    ids, splits, cut = encode_texts(reviews.texts, preprocessing)
    return Texts(ids, splits, int(cut.sum()))


def encode_labelled(reviews: Reviews, preprocessing: Preprocessing, names: tuple[str, ...]) -> LabelledTexts:
    """Encodes reviews and their labels, which have these names."""
    targets = np.eye(len(names), dtype=np.float32)[label_ids(reviews, names)]
    return LabelledTexts(**vars(encode(reviews, preprocessing)), targets=targets)


def batches(
    texts: Texts,
    *,
    batch_reviews: int,
    batch_words: int,
    seed: int | None = None,
    epoch: int = 0,
    xla: bool = False,
) -> tf.data.Dataset:
    """Returns batches of reviews of similar length. All but the last have the same number of reviews, unless the
    reviews are long.

    A batch is a dict of

        ids: int32[batch, time].
        rows: int64[batch], the number of each review; -1 for an empty one that fills up a batch.
        real: float32[batch], 1, or 0 for an empty review that fills up a batch.
        targets: float32[batch, classes], only of LabelledTexts.
        labels: int32[batch], only of LabelledTexts.

    Args:
        batch_reviews: maximum number of reviews in a batch.
        batch_words: maximum number of words in a batch, padding included.
        seed: decides, with `epoch`, the order of the batches and which reviews are in the same one. None: the longest
            reviews come first.
        xla: use fewer shapes, since XLA compiles each of them.
    """
    plan = plan_batches(
        texts.lengths,
        max_rows=batch_reviews,
        max_steps=batch_words,
        seed=seed,
        epoch=epoch,
        shapes_per_octave=4 if xla else 8,
    )
    reviews = tf.RaggedTensor.from_row_splits(texts.ids, texts.splits, validate=False)
    answers = {}
    if isinstance(texts, LabelledTexts):
        answers = {"targets": tf.constant(texts.targets), "labels": tf.constant(texts.labels)}
    sizes = [len(rows) for rows, _ in plan]
    rows = tf.RaggedTensor.from_row_lengths(np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in plan)]), sizes)

    def batch(rows, max_time):
        real = rows != FILLER
        numbers = tf.where(real, rows, 0)
        ids = tf.gather(reviews, numbers).to_tensor(PADDING, shape=tf.stack([-1, max_time]))
        return {
            "ids": tf.where(real[:, None], ids, PADDING),
            "rows": rows,
            "real": tf.cast(real, tf.float32),
            **{name: tf.gather(values, numbers) for name, values in answers.items()},
        }

    max_times = tf.constant([steps for _, steps in plan], tf.int64)
    return (
        without_autotune(tf.data.Dataset.from_tensor_slices((rows, max_times)))
        .map(without_autograph(batch), num_parallel_calls=2)
        .prefetch(4)
    )
