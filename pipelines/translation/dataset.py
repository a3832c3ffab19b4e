"""Sentence pairs for training: split into parts, encoded as token ids once, and batched by similar length."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from layers.text import PADDING
from pipelines.common.data import sources, splits
from pipelines.common.data.batching import FILLER, plan_batches
from pipelines.common.data.loading import encode_texts, without_autograph, without_autotune
from pipelines.common.errors import UserError
from pipelines.translation.config import DataConfig
from pipelines.translation.pairs import PARTS, Pairs, own_parts, read
from pipelines.translation.preprocessing import Preprocessing

NAMED = {
    "multi30k": ("", "https://github.com/multi30k/dataset (data/task1/raw)"),
    "tatoeba": ("", "https://www.manythings.org/anki/ (as train.tsv, val.tsv and test.tsv)"),
    "wmt14": ("tfds:wmt14_translate/fr-en", "https://www.statmt.org/wmt14/translation-task.html"),
}
SLACK = 5  # tokens that a side may have beyond the ratio of lengths, for short sentences


@dataclasses.dataclass(frozen=True)
class Sentences:
    """Sentences as token ids.

    Attributes:
        ids: int32[tokens], all sentences in one array.
        splits: int64[sentences + 1], where each sentence begins and ends.
        cut: bool[sentences], whether the sentence was longer than the limits.
    """

    ids: np.ndarray
    splits: np.ndarray
    cut: np.ndarray

    def __len__(self) -> int:
        return len(self.splits) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each sentence, int64[sentences]."""
        return np.diff(self.splits)

    def ragged(self) -> tf.RaggedTensor:
        return tf.RaggedTensor.from_row_splits(self.ids, self.splits, validate=False)

    def take(self, rows: np.ndarray) -> "Sentences":
        kept = [self.ids[self.splits[row] : self.splits[row + 1]] for row in rows]
        lengths = self.lengths[rows]
        ids = np.concatenate([np.zeros(0, np.int32), *kept])
        return Sentences(ids, np.concatenate([[0], np.cumsum(lengths)]), self.cut[rows])

    def replaced(self, rows: np.ndarray, others: "Sentences") -> "Sentences":
        """Returns these sentences, but `others` in the places `rows`."""
        places = np.arange(len(self))
        places[rows] = len(self) + np.arange(len(rows))
        return join(self, others).take(places)


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Sentence pairs as token ids.

    Attributes:
        sources, targets: The two sides.
        dropped: The number of pairs that were left out, by reason.
        texts: The sources as they are written.
    """

    sources: Sentences
    targets: Sentences
    dropped: dict[str, int]
    texts: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.sources)


def locate(data: DataConfig) -> pathlib.Path | str:
    return sources.locate(data.location, "translation", NAMED)


def load(data: DataConfig) -> dict[str, Pairs]:
    """Loads the parts that training needs: "train" and "validation"; and "test" where that is split off, too.

    A part that the data lacks is split off the training pairs: all translations of a source on one side, drawn by
    --split-seed only, so that a later call finds the same parts.
    """
    where = locate(data)
    own = own_parts(where, data)
    if "train" not in own:
        raise UserError(f"--data {data.location} has no part train: it has {', '.join(own)}")
    parts = {part: read(where, part, data) for part in own if part != "test"}
    for part in ("test", "validation"):
        share = getattr(data, f"{part}_share")
        if part not in own and share:
            parts["train"], parts[part] = split_off(parts["train"], share, data.split_seed, data.location)
    return parts


def load_part(data: DataConfig, part: str) -> Pairs:
    """Loads one part of the data, by its name or by the stem of its files."""
    where = locate(data)
    own = own_parts(where, data)
    if part not in PARTS or (part in own and not (part == "train" and len(own) < len(PARTS))):
        return read(where, part, data)
    parts = load(data)
    if part not in parts:
        raise UserError(f"--data {data.location} has no part {part}: it has {', '.join({*own, *parts})}")
    return parts[part]


def load_all(data: DataConfig, part: str) -> Pairs:
    """Loads pairs of data that the run was not trained on: a whole table, or a part of other data."""
    where = locate(data)
    if isinstance(where, pathlib.Path) and where.is_file():
        return read(where, "train", data)
    own = own_parts(where, data)
    if part in PARTS and part not in own:
        raise UserError(f"--data {data.location} has no part {part}: it has {', '.join(own)}")
    return read(where, part, data)


def split_off(pairs: Pairs, share: float, seed: int, where: str) -> tuple[Pairs, Pairs]:
    """Returns the rest and about `share` of the source sentences, each with all of its translations."""
    known = sorted(set(pairs.sources))
    size, expected = round(share * len(known)), "two different source sentences or more"
    _, drawn = splits.split(range(len(known)), size, seed, where, expected)
    chosen = {known[number] for number in drawn}
    rows: tuple[list[int], list[int]] = [], []
    for row, source in enumerate(pairs.sources):
        rows[source in chosen].append(row)
    return pairs.take(rows[0]), pairs.take(rows[1])


def encode(pairs: Pairs, preprocessing: Preprocessing, max_ratio: float) -> Encoded:
    """Encodes pairs. Leaves out those with an empty side, with a side longer than the limits (it would be cut, but not
    its translation), or with sides of too unequal lengths."""
    source = Sentences(*encode_texts(pairs.sources, preprocessing.source.encode))
    target = Sentences(*encode_texts(pairs.targets, preprocessing.target.encode))
    shorter, longer = np.minimum(source.lengths, target.lengths), np.maximum(source.lengths, target.lengths)
    faults = {
        "with an empty side": shorter == 0,
        "too long": source.cut | target.cut,
        "of too unequal lengths": longer > max_ratio * shorter + SLACK,
    }
    good = np.ones(len(pairs), bool)
    dropped = {}
    for reason, found in faults.items():
        if (found & good).any():
            dropped[reason] = int((found & good).sum())
        good &= ~found
    rows = np.flatnonzero(good)
    return Encoded(source.take(rows), target.take(rows), dropped, [pairs.sources[row] for row in rows])


def batches(
    encoded: Encoded,
    *,
    batch_pairs: int,
    batch_tokens: int,
    seed: int | None = None,
    epoch: int = 0,
    xla: bool = False,
) -> tf.data.Dataset:
    """Returns batches of pairs of similar length.

    Each is a dict of `source` and `target` int32[batch, time], padded; `rows` int64[batch], the index of the pair; and
    `real` float32[batch]: 1, or 0 for an empty pair that fills the batch, with the row -1.

    Args:
        batch_pairs: Maximum number of pairs of a batch.
        batch_tokens: Maximum number of tokens of a batch, both sides with padding.
        seed: With `epoch`, determines the batches and their order. None: longest first.
        xla: Use fewer shapes, as XLA compiles each one.
    """
    plan = plan_batches(
        2 * np.maximum(encoded.sources.lengths, encoded.targets.lengths),  # each side has its own padding
        max_rows=batch_pairs,
        max_steps=batch_tokens,
        seed=seed,
        epoch=epoch,
    )
    sides = encoded.sources.ragged(), encoded.targets.ragged()
    sizes = [len(rows) for rows, _ in plan]
    rows = tf.RaggedTensor.from_row_lengths(np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in plan)]), sizes)

    def batch(rows):
        real = rows != FILLER
        source, target = (padded(side, tf.boolean_mask(rows, real), tf.size(rows), xla) for side in sides)
        return {"source": source, "target": target, "rows": rows, "real": tf.cast(real, tf.float32)}

    return (
        without_autotune(tf.data.Dataset.from_tensor_slices(rows))
        .map(without_autograph(batch), num_parallel_calls=2)
        .prefetch(4)
    )


def padded(sentences: tf.RaggedTensor, rows, count, xla: bool):
    """Returns int32[count, time]: the sentences `rows`, then empty ones, padded to the longest, or with `xla` to a
    multiple of eight."""
    taken = tf.gather(sentences, rows)
    longest = tf.maximum(tf.reduce_max(taken.row_lengths()), 1)
    if xla:
        longest = -(-longest // 8) * 8
    return taken.to_tensor(PADDING, shape=tf.stack([tf.cast(count, tf.int64), longest]))


def mix(new: Encoded, old: Encoded, share: float, seed: int) -> Encoded:
    """Returns all pairs of `new`, and random ones of `old` that make up `share` of the result."""
    wanted = min(round(len(new) * share / (1 - share)), len(old))
    rows = np.random.default_rng(seed).permutation(len(old))[:wanted]
    return Encoded(
        join(new.sources, old.sources.take(rows)),
        join(new.targets, old.targets.take(rows)),
        new.dropped,
        [*new.texts, *(old.texts[row] for row in rows.tolist() if old.texts)],
    )


def join(first: Sentences, second: Sentences) -> Sentences:
    splits = np.concatenate([first.splits, first.splits[-1] + second.splits[1:]])
    return Sentences(np.concatenate([first.ids, second.ids]), splits, np.concatenate([first.cut, second.cut]))
