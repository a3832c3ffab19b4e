"""Reviews as word ids: encoded once, in memory or into files, and batched by similar length."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from layers.text import PADDING
from pipelines.common.cache_folders import digest
from pipelines.common.data import corpora
from pipelines.common.data.loading import FILLER, computed, encoded_batches, plan_batches
from pipelines.sentiment.labels import label_targets
from pipelines.sentiment.preprocessing import Preprocessing
from pipelines.sentiment.reviews import Reviews, all_texts


@dataclasses.dataclass(frozen=True)
class Texts:
    """Reviews as word ids.

    Attributes:
        ids: int32[words], the words of all reviews, one review after the other.
        splits: int64[reviews + 1], where each review begins and ends.
        cut: number of reviews that were longer than the limits.
        folder: of the files that the ids are mapped from; None: they are in memory.
    """

    ids: np.ndarray
    splits: np.ndarray
    cut: int
    folder: pathlib.Path | None = dataclasses.field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.splits) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int32[reviews], the number of words of each review."""
        return corpora.lengths_of(self.splits)

    @classmethod
    def of(cls, found: corpora.Arrays) -> "Texts":
        """Returns what `write_ids` has written."""
        return Texts(found.arrays["ids"], found.arrays["splits"], found.facts["cut"], folder=found.folder)

    def release(self):
        """Takes the files that the ids are mapped from out of memory."""
        corpora.release(self.ids)
        corpora.release(self.splits)


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
        """Returns the reviews of both, in memory."""
        return LabelledTexts(
            np.concatenate([self.ids, other.ids]),
            np.concatenate([self.splits, self.splits[-1] + other.splits[1:]]),
            self.cut + other.cut,
            np.concatenate([self.targets, other.targets]),
        )


def encode(parts: Sequence[Reviews], preprocessing: Preprocessing, cache: pathlib.Path | None = None) -> Texts:
    """Encodes the reviews of some parts once, one part after the other, so that an epoch does not have to.

    Args:
        cache: folder of corpora, into one of which the ids are written unless it has them. None: they are in memory.
    """
    write = functools.partial(write_ids, all_texts(parts), preprocessing)
    if cache is None:
        return Texts.of(corpora.in_memory(write))
    key = {"texts": digest([part.key() for part in parts]), "preprocessing": preprocessing.key()}
    return Texts.of(corpora.on_disk(cache, key, write))


def write_ids(texts: Iterable[str], preprocessing: Preprocessing, append: corpora.Append) -> dict:
    """Encodes a stream of reviews, appends the arrays of a `Texts`, and returns how many reviews were cut."""
    append("ids", np.zeros(0, np.int32))
    splits, cut = corpora.Splits(append, "splits"), 0
    for ids, lengths, was_cut in encoded_batches(texts, preprocessing):
        append("ids", ids)
        splits.add(lengths)
        cut += int(was_cut.sum())
    return {"cut": cut}


def encode_labelled(reviews: Reviews, preprocessing: Preprocessing, names: tuple[str, ...]) -> LabelledTexts:
    """Encodes reviews and their labels, which have these names, in memory."""
    targets = label_targets(reviews, names)  # a wrong label is found before the work
    return LabelledTexts(**vars(encode([reviews], preprocessing)), targets=targets)


def batches(
    texts: Texts,
    *,
    batch_reviews: int,
    batch_words: int,
    seed: int | None = None,
    epoch: int = 0,
    xla: bool = False,
) -> tf.data.Dataset:
    """Returns batches of reviews of similar length, each of `batch_reviews` rows, or of fewer where the reviews are
    long. The last batch is filled up with empty reviews.

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
    signature = {
        "ids": tf.TensorSpec([None, None], tf.int32),
        "rows": tf.TensorSpec([None], tf.int64),
        "real": tf.TensorSpec([None], tf.float32),
    }
    if isinstance(texts, LabelledTexts):
        signature["targets"] = tf.TensorSpec([None, texts.targets.shape[1]], texts.targets.dtype)
        signature["labels"] = tf.TensorSpec([None], tf.int32)

    def batch(number) -> dict[str, np.ndarray]:
        rows, steps = plan[number]
        real = rows != FILLER
        ids, lengths = corpora.gather(texts.ids, texts.splits, rows[real])
        texts.release()
        ids = corpora.padded(ids, lengths, (len(rows), steps), PADDING)
        found = {"ids": ids, "rows": rows, "real": real.astype(np.float32)}
        if isinstance(texts, LabelledTexts):
            found["targets"] = texts.targets[np.where(real, rows, 0)]
            found["labels"] = found["targets"].argmax(axis=1).astype(np.int32)
        return found

    return computed(batch, len(plan), signature)
