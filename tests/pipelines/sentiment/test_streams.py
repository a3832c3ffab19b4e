"""Streams against the same written in plain Python: lists of what every step of every text is."""

import numpy as np
import pytest

from layers.text import END, PADDING, START
from pipelines.sentiment.dataset import Texts
from pipelines.sentiment.streams import Lookup, Streams, steps_of

TEXTS = [[5, 6, 7], [], [8], [9, 10, 11, 12, 13, 14, 15], [16, 17], [18, 19, 20, 21, 22]]


def made(texts) -> Texts:
    ids = np.array([word for text in texts for word in text], np.int32)
    return Texts(ids, np.cumsum([0, *map(len, texts)]), 0)


def spelled(text, objective="next-word", direction="forward") -> list[tuple[int, int, int]]:
    """(input, target, weight) of every step."""
    words = text if direction == "forward" else text[::-1]
    written = [(read, said, 1) for read, said in zip([START, *words], [*words, END], strict=True)]
    return ([(word, PADDING, 0) for word in words] if objective == "autoencoder" else []) + written


def read_back(streams: Streams, epoch: int, direction: str) -> list[list[tuple[int, int, float, int]]]:
    """(input, target, weight, age of its window) of every new step, for each row."""
    rows = [[] for _ in range(streams.rows)]
    for batch in streams.epoch(epoch).as_numpy_iterator():
        inputs = batch["inputs"][direction][:, -streams.k1 :]
        for row, found in enumerate(rows):
            columns = inputs[row], batch["targets"][direction][row], batch["weights"][row]
            found += [(int(x), int(y), float(w), int(batch["age"][row])) for x, y, w in zip(*columns, strict=True)]
    return rows


def options(**changes):
    return {
        "k1": 3, "k2": 5, "rows": 2, "objective": "next-word", "directions": ("forward", "backward"), "carried": True,
        "seed": None, **changes,
    }  # fmt: skip


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_texts_lie_end_to_end_in_all_rows(direction):
    streams = Streams(made(TEXTS), **options())
    expected = [step for text in TEXTS for step in spelled(text, direction=direction)]
    rows = read_back(streams, 0, direction)
    assert streams.windows == -(-len(expected) // 6) == len(rows[0]) / 3
    found = [step for row in rows for step in row]
    assert [step[:3] for step in found[: len(expected)]] == expected
    assert not any(weight for _, _, weight, _ in found[len(expected) :])
    assert [age for *_, age in rows[1]][::3] == list(range(streams.windows))


@pytest.mark.parametrize("objective", ["next-word", "autoencoder"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_text_begins_with_a_window_where_the_state_does(objective, direction):
    streams = Streams(made(TEXTS), **options(rows=1, carried=False, objective=objective))
    (row,) = read_back(streams, 0, direction)
    for text in TEXTS:
        expected = spelled(text, objective, direction)
        room = -(-len(expected) // 3) * 3
        steps, row = row[:room], row[room:]
        assert [step[:3] for step in steps[: len(expected)]] == expected
        assert not any(weight for _, _, weight, _ in steps[len(expected) :])
        assert [age for *_, age in steps] == [n // 3 for n in range(room)]
    assert not any(weight for _, _, weight, _ in row)


def test_a_window_reaches_back_into_the_one_before():
    streams = Streams(made(TEXTS), **options(k1=2, k2=5, rows=1))
    before = []
    for batch in streams.epoch(0).as_numpy_iterator():
        window = batch["inputs"]["forward"][0].tolist()
        if len(before) >= 3:
            assert window[:3] == before[-3:]
        before += window[3:]


def test_what_a_seam_cuts_off_counts_for_nothing():
    """Two rows of 9 steps: the text of 7 words, steps 6 to 14, is cut behind its third step."""
    streams = Streams(made([[4] * 5, list(range(5, 12)), [20, 21]]), **options(carried=False))
    first, second = read_back(streams, 0, "forward")
    assert [step[:3] for step in first[6:]] == spelled(list(range(5, 12)))[:3]
    cut = spelled(list(range(5, 12)))[3:]
    assert [step[:2] for step in second[: len(cut)]] == [step[:2] for step in cut]
    assert not any(weight for _, _, weight, _ in second[:6])
    assert [step[:3] for step in second[6:9]] == spelled([20, 21])
    assert [age for *_, age in second[::3]] == [0, 1, 0]


def test_epochs_differ_in_order_and_each_has_every_target_once():
    streams = Streams(made(TEXTS), **options(seed=4))
    epochs = [[step[:3] for row in read_back(streams, n, "forward") for step in row if step[2]] for n in (0, 1, 0)]
    assert epochs[0] == epochs[2] != epochs[1]
    every = sorted(step for text in TEXTS for step in spelled(text))
    assert sorted(epochs[0]) == sorted(epochs[1]) == every


def test_a_resumed_epoch_goes_on_at_its_place():
    streams = Streams(made(TEXTS), **options(seed=1))
    whole = list(streams.epoch(3).as_numpy_iterator())
    rest = list(streams.epoch(3).skip(2).as_numpy_iterator())
    assert len(rest) == len(whole) - 2
    np.testing.assert_array_equal(rest[0]["inputs"]["backward"], whole[2]["inputs"]["backward"])


def test_texts_without_any_word():
    streams = Streams(made([[], []]), **options())
    batches = list(streams.epoch(0).as_numpy_iterator())
    assert sum(batch["weights"].sum() for batch in batches) == 2
    lookup = Lookup(made([[]]), "autoencoder")
    inputs, targets, weights = (value.numpy().tolist() for value in lookup([0, 0], [0, 1], "forward"))
    assert (inputs, targets, weights) == ([START, PADDING], [END, PADDING], [1, 0])


def test_steps_of():
    lengths = np.array([0, 3])
    assert steps_of(lengths, "next-word").tolist() == [1, 4]
    assert steps_of(lengths, "autoencoder").tolist() == [1, 7]
