"""Loading of texts; and streams against the same in plain Python, lists of the time steps of every text."""

import gzip

import numpy as np
import pytest

from layers.text import END, PADDING, START
from pipelines.common.errors import UserError
from pipelines.sentiment import config as classifier
from pipelines.sentiment import dataset
from pipelines.sentiment.language_model.dataset import Lookup, Streams, count_steps, cut_line, load
from pipelines.sentiment.reviews import all_texts
from pipelines.sentiment.text_config import DataConfig
from pipelines.sentiment.word_ids import Texts

# Loading --------------------------------------------------------------------------------------------------------------


def loaded(location, max_characters=50_000, **changes) -> dict[str, list[str]]:
    """Returns the texts of each part."""
    data = DataConfig(location=str(location), **{"validation_share": 0.25, **changes})
    return {part: list(all_texts(found)) for part, found in load(data, max_characters).items()}


def lines(number: int, name: str = "text") -> list[str]:
    return [f"{name} {n}" for n in range(number)]


def test_training_and_unlabelled_reviews_without_the_test(tmp_path):
    (tmp_path / "train.csv").write_text("text\n" + "\n".join(lines(20)))  # labels are not asked for
    (tmp_path / "unsup.jsonl").write_text("".join(f'{{"text": "{line}"}}\n' for line in lines(22)))
    (tmp_path / "test.csv").write_bytes(b"\xff no table")
    parts = loaded(tmp_path)
    held_out = parts["validation"]
    assert len(held_out) == 5
    own = [text for text in lines(20) if text not in held_out]
    assert sorted(parts["train"]) == sorted([*own, *own, "text 20", "text 21"])


def test_unlabelled_reviews_of_held_out_films_are_left_out(tmp_path, capsys):
    rows = [(f"review {n}", f"film {n // 5}") for n in range(20)]
    (tmp_path / "train.csv").write_text("text,film\n" + "".join(f"{text},{film}\n" for text, film in rows))
    unlabelled = [(f"other {n}", f"film {n // 2}") for n in range(10)]
    (tmp_path / "unsup.csv").write_text("text,film\n" + "".join(f"{text},{film}\n" for text, film in unlabelled))
    (tmp_path / "test.csv").write_text("text,film\nlast,film 3\n")
    parts = loaded(tmp_path, group_column="film")
    (film,) = {dict(rows)[text] for text in parts["validation"]}
    kept = [text for text, its in unlabelled if its != film]
    assert parts["train"][15:] == kept
    assert len(kept) == 8
    assert "left out 2 reviews" in capsys.readouterr().err


def test_the_folders_of_acl_imdb(tmp_path):
    for folder in ("train/pos", "train/neg", "train/unsup", "test/pos", "test/neg"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(4):
            (tmp_path / folder / f"{number}_7.txt").write_text(f"{folder} {number}")
    parts = loaded(tmp_path)
    texts = parts["train"] + parts["validation"]
    assert len(texts) == 12 and not any(text.startswith("test") for text in texts)
    assert [text for text in parts["train"] if "unsup" in text] == [f"train/unsup {n}" for n in range(4)]
    for name in ("pos", "neg", "unsup"):
        urls = "".join(f"http://film{number % 2}/usercomments\n" for number in range(4))
        (tmp_path / "train" / f"urls_{name}.txt").write_text(urls)
    parts = loaded(tmp_path, group_column="film")
    films = [{int(text[-1]) % 2 for text in parts[part]} for part in ("train", "validation")]
    assert films[0].isdisjoint(films[1])
    assert len(parts["train"]) == 6 and len(parts["validation"]) == 4  # two unlabelled ones are of its film


def test_the_test_part_of_a_single_file_is_not_read(tmp_path):
    (tmp_path / "reviews.csv").write_text("text,label\n" + "".join(f"text {n},{n % 2}\n" for n in range(40)))
    path = tmp_path / "reviews.csv"
    texts = [text for part in loaded(path).values() for text in part]
    tested = dataset.load(classifier.DataConfig(location=str(path), validation_share=0.25))["test"].texts
    assert len(tested) == 4 and not set(tested) & set(texts)


def test_a_text_file(tmp_path):
    path = tmp_path / "book.txt.gz"
    path.write_bytes(gzip.compress(("\n\n".join(lines(11)) + "\n  \n" + "ab cde f " * 3).encode()))
    parts = loaded(path, max_characters=9)
    found = parts["train"] + parts["validation"]
    assert sorted(found) == sorted([*lines(11), "ab cde f", " ab cde f", " ab cde f"])
    assert set(parts["train"]).isdisjoint(parts["validation"])


def test_a_line_without_spaces_is_cut():
    assert list(cut_line("abcdefgh ij", 3)) == ["abc", "def", "gh", " ij"]
    assert list(cut_line("", 3)) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "a.txt is empty: expected lines of text"),
        ("a.txt", b"\xff\n", "a.txt, line 1: byte 1 of the line is 0xff"),
        ("a.txt", b"alone\n", "cannot be split"),
        ("a.doc", b"words\n", "has an unknown format"),
        ("a.csv", b"body\nwords\n", "text is missing"),
    ],
)
def test_invalid_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        loaded(tmp_path / name)


def test_data_without_a_validation_part(tmp_path):
    (tmp_path / "train.csv").write_text("text\n" + "\n".join(lines(20)))
    with pytest.raises(UserError, match="has no part validation"):
        loaded(tmp_path, validation_share=0.0)


# Streams --------------------------------------------------------------------------------------------------------------

TEXTS = [[5, 6, 7], [], [8], [9, 10, 11, 12, 13, 14, 15], [16, 17], [18, 19, 20, 21, 22]]


def encoded(texts) -> Texts:
    ids = np.array([word for text in texts for word in text], np.int32)
    return Texts(ids, np.cumsum([0, *map(len, texts)]), 0)


def expected_steps(text, objective="next-word", direction="forward") -> list[tuple[int, int, int]]:
    """Returns (input, target, weight) of every time step."""
    words = text if direction == "forward" else text[::-1]
    steps = [(word, target, 1) for word, target in zip([START, *words], [*words, END], strict=True)]
    return ([(word, PADDING, 0) for word in words] if objective == "autoencoder" else []) + steps


def stream_steps(streams: Streams, epoch: int, direction: str) -> list[list[tuple[int, int, float, int]]]:
    """Returns (input, target, weight, age of its window) of every new time step, for each row."""
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
def test_texts_are_concatenated_in_all_rows(direction):
    streams = Streams(encoded(TEXTS), **options())
    expected = [step for text in TEXTS for step in expected_steps(text, direction=direction)]
    rows = stream_steps(streams, 0, direction)
    assert streams.windows == -(-len(expected) // 6) == len(rows[0]) / 3
    found = [step for row in rows for step in row]
    assert [step[:3] for step in found[: len(expected)]] == expected
    assert not any(weight for _, _, weight, _ in found[len(expected) :])
    assert [age for *_, age in rows[1]][::3] == list(range(streams.windows))


@pytest.mark.parametrize("objective", ["next-word", "autoencoder"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_text_begins_with_a_window_if_the_state_is_reset(objective, direction):
    streams = Streams(encoded(TEXTS), **options(rows=1, carried=False, objective=objective))
    (row,) = stream_steps(streams, 0, direction)
    for text in TEXTS:
        expected = expected_steps(text, objective, direction)
        length = -(-len(expected) // 3) * 3  # whole windows
        steps, row = row[:length], row[length:]
        assert [step[:3] for step in steps[: len(expected)]] == expected
        assert not any(weight for _, _, weight, _ in steps[len(expected) :])
        assert [age for *_, age in steps] == [n // 3 for n in range(length)]
    assert not any(weight for _, _, weight, _ in row)


def test_a_window_includes_the_last_steps_of_the_window_before():
    streams = Streams(encoded(TEXTS), **options(k1=2, k2=5, rows=1))
    before = []
    for batch in streams.epoch(0).as_numpy_iterator():
        window = batch["inputs"]["forward"][0].tolist()
        if len(before) >= 3:
            assert window[:3] == before[-3:]
        before += window[3:]


def test_the_rest_of_a_text_that_is_cut_at_the_end_of_a_row_has_no_weight():
    """Two rows of 9 steps: the text of 7 words, steps 6 to 14, is cut after its third step."""
    streams = Streams(encoded([[4] * 5, list(range(5, 12)), [20, 21]]), **options(carried=False))
    first, second = stream_steps(streams, 0, "forward")
    assert [step[:3] for step in first[6:]] == expected_steps(list(range(5, 12)))[:3]
    cut = expected_steps(list(range(5, 12)))[3:]
    assert [step[:2] for step in second[: len(cut)]] == [step[:2] for step in cut]
    assert not any(weight for _, _, weight, _ in second[:6])
    assert [step[:3] for step in second[6:9]] == expected_steps([20, 21])
    assert [age for *_, age in second[::3]] == [0, 1, 0]


def test_epochs_differ_in_order_and_have_every_target_once():
    streams = Streams(encoded(TEXTS), **options(seed=4))
    epochs = [[step[:3] for row in stream_steps(streams, n, "forward") for step in row if step[2]] for n in (0, 1, 0)]
    assert epochs[0] == epochs[2] != epochs[1]
    every = sorted(step for text in TEXTS for step in expected_steps(text))
    assert sorted(epochs[0]) == sorted(epochs[1]) == every


def test_an_epoch_can_be_skipped_to_any_batch():
    streams = Streams(encoded(TEXTS), **options(seed=1))
    whole = list(streams.epoch(3).as_numpy_iterator())
    rest = list(streams.epoch(3).skip(2).as_numpy_iterator())
    assert len(rest) == len(whole) - 2
    np.testing.assert_array_equal(rest[0]["inputs"]["backward"], whole[2]["inputs"]["backward"])


def test_texts_without_words():
    streams = Streams(encoded([[], []]), **options())
    batches = list(streams.epoch(0).as_numpy_iterator())
    assert sum(batch["weights"].sum() for batch in batches) == 2
    lookup = Lookup(encoded([[]]), "autoencoder")
    found = lookup(np.array([0, 0]), np.array([0, 1]), "forward")
    inputs, targets, weights = (value.tolist() for value in found)
    assert (inputs, targets, weights) == ([START, PADDING], [END, PADDING], [1, 0])


def test_count_steps():
    lengths = np.array([0, 3])
    assert count_steps(lengths, "next-word").tolist() == [1, 4]
    assert count_steps(lengths, "autoencoder").tolist() == [1, 7]
