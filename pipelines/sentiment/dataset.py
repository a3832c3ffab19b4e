"""Reviews made ready for a model: in parts, read as ids once, given out in batches of similar length."""

import dataclasses
import pathlib
import sys

import numpy as np
import tensorflow as tf

from layers.text import PADDING
from pipelines.common.data import sources
from pipelines.common.data.batching import FILLER, plan_batches
from pipelines.common.data.loading import CORES, text_batches, without_autograph, without_autotune
from pipelines.common.errors import UserError
from pipelines.sentiment import splits
from pipelines.sentiment.preprocessing import Preprocessing
from pipelines.sentiment.reviews import NAMED, PARTS, Reviews, own_parts, read, read_unlabelled
from pipelines.sentiment.text_options import TextOptions


@dataclasses.dataclass(frozen=True)
class Texts:
    """Reviews as ids.

    Attributes:
        ids: int32[words], all reviews behind each other.
        splits: int64[reviews + 1], where each begins and ends.
        cut: how many reviews were longer than the limits.
    """

    ids: np.ndarray
    splits: np.ndarray
    cut: int

    def __len__(self) -> int:
        return len(self.splits) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64[reviews]: words of each review."""
        return np.diff(self.splits)


@dataclasses.dataclass(frozen=True)
class Encoded(Texts):
    """Reviews as ids, and their targets.

    Attributes:
        targets: float32[reviews, classes], the probability of each label: 1 for that of a labelled review.
    """

    targets: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """int32[reviews]: the most probable label of each review."""
        return self.targets.argmax(axis=1).astype(np.int32)


def load(config: TextOptions, labelled: bool = True) -> dict[str, Reviews]:
    """The parts "train", "validation" and "test" of the config's data.

    A part that the data lacks is split off the training reviews: the share that the config says, whole groups only,
    by the split's seed alone. So a later call finds the same parts.

    Args:
        labelled: False for a language model: labels need not be there, and a test part is not even read.
    """
    where = sources.locate(config.data, "sentiment", NAMED)
    own = own_parts(where)
    if "train" not in own:
        raise UserError(f"--data {config.data} has no part train: it has {', '.join(own)}")
    lacking = [part for part in ("test", "validation") if part not in own]
    parts = {
        part: read(where, part, config, grouped=part == "train" and bool(lacking), labelled=labelled)
        for part in own
        if labelled or part != "test"
    }
    for part in lacking:
        share = getattr(config, f"{part}_share")
        if share:
            parts["train"], parts[part] = splits.split(parts["train"], share, config.split_seed, config.data)
    return parts


def load_part(config: TextOptions, part: str) -> Reviews:
    """One part of the config's data; a file is one part, whatever it is asked for, unless it is what the run splits."""
    where = sources.locate(config.data, "sentiment", NAMED)
    own = own_parts(where)
    if part in own and not (part == "train" and len(own) < len(PARTS)):
        return read(where, part, config, grouped=False)
    parts = load(config)
    if part not in parts:
        raise UserError(f"--data {config.data} has no part {part}: it has {', '.join(parts)}")
    return parts[part]


def load_all(config: TextOptions, part: str) -> Reviews:
    """The reviews of data that no run was trained on: a file as a whole, of other data the part."""
    where = sources.locate(config.data, "sentiment", NAMED)
    if isinstance(where, pathlib.Path) and where.is_file():
        return read(where, "train", config, grouped=False)
    own = own_parts(where)
    if part not in own:
        raise UserError(f"--data {config.data} has no part {part}: it has {', '.join(own)}")
    return read(where, part, config, grouped=False)


def load_unlabelled(config: TextOptions, parts: dict[str, Reviews]) -> Reviews | None:
    """The unlabelled reviews of the config's data, None where it has none.

    Those are left out whose text is held out, in any of `parts` (which `load` gave) but "train", or whose group is: of
    "validation", and of "test" where that was split off the training reviews. Of a test part that the data itself has,
    the groups are not known as a rule.
    """
    where = sources.locate(config.data, "sentiment", NAMED)
    found = read_unlabelled(where, config)
    if found is None:
        return None
    own = own_parts(where)
    texts = {text for part, reviews in parts.items() if part != "train" for text in reviews.texts}
    apart = [reviews for part, reviews in parts.items() if part == "validation" or part not in own]
    groups = {group for reviews in apart for group in reviews.groups}
    kept = [
        row
        for row, (group, text) in enumerate(zip(found.groups, found.texts, strict=True))
        if group not in groups and text not in texts
    ]
    if len(kept) < len(found):
        print(f"unlabelled: left out {len(found) - len(kept):,} reviews of what is held out", file=sys.stderr)
    return found.take(kept)


def name_labels(reviews: Reviews, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The labels' names in the order of their ids: those wanted, else those of the data's layout, else the labels
    themselves in the order of numbers or letters."""
    if wanted or reviews.names:
        return wanted or reviews.names
    labels = set(map(str, reviews.labels))
    integers = all(as_integer(label) is not None for label in labels)
    return tuple(sorted(labels, key=as_integer if integers else None))


def as_integer(label: str | int) -> int | None:
    try:
        return int(label)
    except ValueError:
        return None


def label_ids(reviews: Reviews, names: tuple[str, ...]) -> np.ndarray:
    """int32[reviews]: the index of each label in `names`, by name where all are names, else as integers from 0.

    Integers that have names of their own (the layout of the data gives them) are read by their place only where as
    many names are expected: `pos` and `neg` may be called otherwise.
    """
    index = {name: number for number, name in enumerate(names)}
    known = [reviews.names[label] for label in reviews.labels] if reviews.names else list(map(str, reviews.labels))
    if set(known) <= index.keys():
        return np.array([index[name] for name in known], np.int32)
    numbers = [as_integer(label) for label in reviews.labels]
    if len(reviews.names) in (0, len(names)) and all(number is not None for number in numbers):
        wrong = [row for row, number in enumerate(numbers) if not 0 <= number < len(names)]
        if not wrong:
            return np.array(numbers, np.int32)
    else:
        wrong = [row for row, name in enumerate(known) if name not in index]
    raise UserError(
        f"{reviews.places[wrong[0]]}: the label is {known[wrong[0]]!r}, expected one of {', '.join(names)}"
        f" (or, throughout, integers from 0 to {len(names) - 1})"
    )


def encode(reviews: Reviews, preprocessing: Preprocessing, names: tuple[str, ...]) -> Encoded:
    """Reads all reviews once, so that an epoch need not."""
    targets = np.eye(len(names), dtype=np.float32)[label_ids(reviews, names)]
    texts = encode_texts(reviews, preprocessing)
    return Encoded(texts.ids, texts.splits, texts.cut, targets)


def encode_texts(reviews: Reviews, preprocessing: Preprocessing) -> Texts:
    """`encode` without labels."""
    ids, lengths, cut = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)], 0
    for found, was_cut in text_batches(reviews.texts).map(without_autograph(preprocessing), num_parallel_calls=CORES):
        ids.append(found.values.numpy())
        lengths.append(found.row_lengths().numpy())
        cut += int(was_cut.numpy().sum())
    return Texts(np.concatenate(ids), np.concatenate([[0], np.cumsum(np.concatenate(lengths))]), cut)


def join_encoded(first: Encoded, second: Encoded) -> Encoded:
    """The reviews of both, behind each other."""
    return Encoded(
        np.concatenate([first.ids, second.ids]),
        np.concatenate([first.splits, first.splits[-1] + second.splits[1:]]),
        first.cut + second.cut,
        np.concatenate([first.targets, second.targets]),
    )


def batches(
    texts: Texts,
    *,
    batch_reviews: int,
    batch_words: int,
    seed: int | None = None,
    epoch: int = 0,
    xla: bool = False,
) -> tf.data.Dataset:
    """Batches of reviews of similar length; all but the last have the same number of reviews unless they are long.

    Each is a dict of `ids` int32[batch, time], `rows` int64[batch] (the review's number) and `real` float32[batch]: 1,
    or 0 for an empty review that fills up a batch, with the row -1. Encoded reviews have `targets` float32[batch,
    classes] and `labels` int32[batch] beside.

    Args:
        batch_reviews: most reviews of a batch.
        batch_words: most words of a batch, padding included.
        seed: with `epoch`, decides the order of the batches and which reviews meet in one; None: longest first.
        xla: let fewer shapes occur, as each is compiled.
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
    known = isinstance(texts, Encoded)
    answers = {"targets": tf.constant(texts.targets), "labels": tf.constant(texts.labels)} if known else {}
    sizes = [len(rows) for rows, _ in plan]
    rows = tf.RaggedTensor.from_row_lengths(np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in plan)]), sizes)

    def batch(rows, steps):
        real = rows != FILLER
        taken = tf.where(real, rows, 0)
        ids = tf.gather(reviews, taken).to_tensor(PADDING, shape=tf.stack([-1, steps]))
        return {
            "ids": tf.where(real[:, None], ids, PADDING),
            "rows": rows,
            "real": tf.cast(real, tf.float32),
            **{name: tf.gather(values, taken) for name, values in answers.items()},
        }

    steps = tf.constant([steps for _, steps in plan], tf.int64)
    return (
        without_autotune(tf.data.Dataset.from_tensor_slices((rows, steps)))
        .map(without_autograph(batch), num_parallel_calls=2)
        .prefetch(4)
    )
