"""Sentence pairs for training: split into parts, encoded as token ids once, and batched by similar length."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from layers.text import PADDING
from pipelines.common.data import corpora, sources
from pipelines.common.data.loading import FILLER, batched, computed, in_order, plan_batches
from pipelines.common.data.splits import require_part, split
from pipelines.translation.config import DataConfig
from pipelines.translation.pairs import PARTS, Pairs, Stream, own_parts
from pipelines.translation.preprocessing import Preprocessing

NAMED = {
    "multi30k": ("", "https://github.com/multi30k/dataset (data/task1/raw)"),
    "tatoeba": ("", "https://www.manythings.org/anki/ (as train.tsv, val.tsv and test.tsv)"),
    "wmt14": ("tfds:wmt14_translate/fr-en", "https://www.statmt.org/wmt14/translation-task.html"),
}
SIDES = ("sources", "targets")
SLACK = 5  # tokens that a side may have beyond the ratio of lengths, for short sentences


@dataclasses.dataclass(frozen=True)
class Sentences:
    """Sentences as token ids.

    Attributes:
        ids: int32[tokens], all sentences in one array.
        splits: int64[sentences + 1], where each sentence begins and ends.
    """

    ids: np.ndarray
    splits: np.ndarray

    def __len__(self) -> int:
        return len(self.splits) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each sentence, int32[sentences]."""
        return corpora.lengths_of(self.splits)

    def take(self, rows: np.ndarray) -> "Sentences":
        """Returns some of the sentences, in memory."""
        ids, lengths = corpora.gather(self.ids, self.splits, rows)
        return Sentences(ids, np.concatenate([[0], np.cumsum(lengths)]))

    def replaced(self, rows: np.ndarray, others: "Sentences") -> "Sentences":
        """Returns these sentences, but `others` in the places `rows`, in memory."""
        places = np.arange(len(self))
        places[rows] = len(self) + np.arange(len(rows))
        return join(self, others).take(places)

    def padded(self, rows: np.ndarray, count: int, xla: bool) -> np.ndarray:
        """Returns int32[count, time]: the sentences `rows`, then empty ones, padded to the longest, or with `xla` to a
        multiple of eight."""
        ids, lengths = corpora.gather(self.ids, self.splits, rows)
        longest = max(int(lengths.max(initial=0)), 1)
        if xla:
            longest = -(-longest // 8) * 8
        return corpora.padded(ids, lengths, (count, longest), PADDING)


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Sentence pairs as token ids.

    Attributes:
        sources, targets: The two sides.
        dropped: The number of pairs that were left out, by reason.
        texts: The sources as they are written.
        folder: Of the files that the arrays are mapped from. None: they are in memory.
    """

    sources: Sentences
    targets: Sentences
    dropped: dict[str, int]
    texts: Sequence[str] = ()
    folder: pathlib.Path | None = None

    def __len__(self) -> int:
        return len(self.sources)

    @classmethod
    def of(cls, found: corpora.Arrays) -> "Encoded":
        """Returns what `write_encoded` has written."""
        sources, targets = (Sentences(found.arrays[f"{side}.ids"], found.arrays[f"{side}.splits"]) for side in SIDES)
        return cls(sources, targets, found.facts["dropped"], corpora.Texts.of(found, "texts"), found.folder)


def locate(data: DataConfig) -> pathlib.Path | str:
    return sources.locate(data.location, "translation", NAMED)


def load(data: DataConfig) -> dict[str, Pairs]:
    """Loads the parts that training needs: "train" and "validation"; and "test" where that is split off, too.

    A part that the data lacks is split off the training pairs: all translations of a source on one side, drawn by
    --split-seed only, so that a later call finds the same parts.
    """
    train, parts = open_parts(data)
    return {"train": train.read() if isinstance(train, Stream) else train, **parts}


def open_parts(data: DataConfig) -> tuple[Pairs | Stream, dict[str, Pairs]]:
    """Returns the training pairs, as a stream if nothing is split off them; and the other parts of `load`."""
    where = locate(data)
    own = own_parts(where, data)
    require_part("train", own, data.location)
    stream = Stream(where, "train", data)
    stream.files()  # a missing one is refused before the others are read
    parts = {"validation": Stream(where, "validation", data).read()} if "validation" in own else {}
    missing = [part for part in ("test", "validation") if part not in own and getattr(data, f"{part}_share")]
    if not missing:
        return stream, parts
    train = stream.read()
    for part in missing:
        train, parts[part] = split_off(train, getattr(data, f"{part}_share"), data.split_seed, data.location)
    return train, parts


def load_part(data: DataConfig, part: str) -> Pairs:
    """Loads one part of the data, by its name or by the stem of its files."""
    where = locate(data)
    own = own_parts(where, data)
    if part not in PARTS or (part in own and not (part == "train" and len(own) < len(PARTS))):
        return Stream(where, part, data).read()
    parts = load(data)
    require_part(part, [*own, *(each for each in parts if each not in own)], data.location)
    return parts[part]


def load_all(data: DataConfig, part: str) -> Pairs:
    """Loads pairs of data that the run was not trained on: a whole table, or a part of other data."""
    where = locate(data)
    if isinstance(where, pathlib.Path) and where.is_file():
        return Stream(where, "train", data).read()
    own = own_parts(where, data)
    if part in PARTS:
        require_part(part, own, data.location)
    return Stream(where, part, data).read()


def split_off(pairs: Pairs, share: float, seed: int, where: str) -> tuple[Pairs, Pairs]:
    """Returns the rest and about `share` of the source sentences, each with all of its translations."""
    known = sorted(set(pairs.sources))
    size, expected = round(share * len(known)), "two different source sentences or more"
    _, drawn = split(range(len(known)), size, seed, where, expected)
    chosen = {known[number] for number in drawn}
    rows: tuple[list[int], list[int]] = [], []
    for row, source in enumerate(pairs.sources):
        rows[source in chosen].append(row)
    return pairs.take(rows[0]), pairs.take(rows[1])


def encode(pairs: Pairs, preprocessing: Preprocessing, max_ratio: float) -> Encoded:
    """Encodes pairs in memory. Leaves out those with an empty side, with a side longer than the limits (it would be
    cut, but not its translation), or with sides of too unequal lengths."""
    return Encoded.of(corpora.in_memory(lambda append: write_encoded(pairs, preprocessing, max_ratio, append)))


def encode_on_disk(
    data: DataConfig, pairs: Pairs | Stream, preprocessing: Preprocessing, cache: pathlib.Path
) -> Encoded:
    """Encodes the training pairs of `data` as `encode` does, into files of a cache, unless it has them."""
    shares = None if isinstance(pairs, Stream) else [data.validation_share, data.test_share, data.split_seed]
    key = {
        **Stream(locate(data), "train", data).key(),
        "split_off": shares,
        "max_ratio": data.max_ratio,
        "preprocessing": preprocessing.key(),
    }
    write = functools.partial(write_encoded, pairs, preprocessing, data.max_ratio)
    return Encoded.of(corpora.on_disk(cache, key, write))


def write_encoded(
    pairs: Iterable[tuple[str, str]], preprocessing: Preprocessing, max_ratio: float, append: corpora.Append
) -> dict:
    """Encodes a stream of pairs, appends the arrays of an `Encoded`, and returns the numbers of pairs left out."""
    sides = tf.function(
        lambda sources, targets: (preprocessing.source.encode(sources), preprocessing.target.encode(targets)),
        [tf.TensorSpec([None], tf.string)] * 2,
        autograph=False,
    )

    def encoded(batch: list[tuple[str, str]]):
        texts = [list(side) for side in zip(*batch, strict=True)]
        return texts[0], *sides(*(tf.constant(side, tf.string) for side in texts))

    dropped = dict.fromkeys(("with an empty side", "too long", "of too unequal lengths"), 0)
    splits = {side: corpora.Splits(append, f"{side}.splits") for side in SIDES}
    for side in SIDES:
        append(f"{side}.ids", np.zeros(0, np.int32))
    written = corpora.TextWriter(append, "texts")
    for texts, *found in in_order(encoded, batched(pairs, corpora.TEXTS_AT_ONCE)):
        lengths = [tokens.row_lengths().numpy() for tokens, _ in found]
        shorter, longer = np.minimum(*lengths), np.maximum(*lengths)
        good = np.ones(len(texts), bool)
        faults = shorter == 0, np.logical_or(*(cut.numpy() for _, cut in found)), longer > max_ratio * shorter + SLACK
        for reason, fault in zip(dropped, faults, strict=True):
            dropped[reason] += int((fault & good).sum())
            good &= ~fault
        for side, (tokens, _), each in zip(SIDES, found, lengths, strict=True):
            append(f"{side}.ids", tokens.values.numpy()[np.repeat(good, each)])
            splits[side].add(each[good])
        written.add(texts[row] for row in np.flatnonzero(good).tolist())
    return {"dropped": {reason: count for reason, count in dropped.items() if count}}


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
    steps = np.maximum(encoded.sources.lengths, encoded.targets.lengths)
    steps *= 2  # each side has its own padding
    plan = plan_batches(steps, max_rows=batch_pairs, max_steps=batch_tokens, seed=seed, epoch=epoch)
    sides = {"source": encoded.sources, "target": encoded.targets}

    def batch(number):
        rows, _ = plan[number]
        real = rows != FILLER
        found = {name: side.padded(rows[real], len(rows), xla) for name, side in sides.items()}
        for side in sides.values():
            corpora.release(side.ids)
            corpora.release(side.splits)
        return {**found, "rows": rows, "real": real.astype(np.float32)}

    signature = {
        **dict.fromkeys(sides, tf.TensorSpec([None, None], tf.int32)),
        "rows": tf.TensorSpec([None], tf.int64),
        "real": tf.TensorSpec([None], tf.float32),
    }
    return computed(batch, len(plan), signature)


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
    return Sentences(np.concatenate([first.ids, second.ids]), splits)
