import json
import threading

import numpy as np
import pytest

from pipelines.common import cache_folders
from pipelines.common.data import corpora
from pipelines.common.errors import UserError

TEXTS = ["Two dogs.", "", "Ein Mädchen, ▁ 狗"]


def write(append) -> dict:
    """Appends texts in two parts, and an array that stays empty."""
    append("none", np.zeros(0, np.int32))
    splits = corpora.Splits(append, "splits")
    for part in (TEXTS[:1], TEXTS[1:], []):
        append("characters", np.frombuffer("".join(part).encode(), np.uint8))
        splits.add(np.array([len(text.encode()) for text in part], np.int64))
    return {"left_out": 3}


def texts_of(found) -> corpora.Texts:
    return corpora.Texts(found.arrays["characters"], found.arrays["splits"])


def test_a_corpus_is_the_same_in_memory_and_in_files(tmp_path):
    for found in (
        corpora.in_memory(write),
        corpora.on_disk(tmp_path, {"a": 1}, write),
        corpora.in_temporary_files(tmp_path, write),
    ):
        texts = texts_of(found)
        assert (list(texts), texts[-1], texts[:2]) == (TEXTS, TEXTS[-1], TEXTS[:2])
        assert found.arrays["none"].dtype == np.int32 and not len(found.arrays["none"])
        assert found.facts == {"left_out": 3}
        corpora.release(found.arrays["characters"])
        assert list(texts) == TEXTS  # mapped again
    assert len(list(tmp_path.iterdir())) == 1  # temporary files have no name


def test_a_corpus_is_written_once_for_each_key(tmp_path):
    written = []

    def counted(append):
        written.append(1)
        return write(append)

    for key in ({"a": 1}, {"a": 1}, {"a": 2}, {"a": 1}):
        corpora.on_disk(tmp_path, key, counted)
    assert len(written) == 2


def test_a_second_writer_waits_for_the_first(tmp_path, capsys):
    written, waiting = [], threading.Event()

    def slow(append):
        written.append(1)
        waiting.wait(0.2)
        return write(append)

    both = [threading.Thread(target=corpora.on_disk, args=(tmp_path, {}, slow)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert len(written) == 1
    assert "another process is writing the corpus" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["killed", "truncated", "index", "objects"])
def test_a_corpus_that_is_not_whole_is_written_again(tmp_path, damage):
    def killed(append):
        write(append)
        raise KeyboardInterrupt

    if damage == "killed":
        with pytest.raises(KeyboardInterrupt):
            corpora.on_disk(tmp_path, {}, killed)
    else:
        folder = corpora.on_disk(tmp_path, {}, write).folder
        if damage == "truncated":
            (folder / "characters.array").write_bytes(b"Two")
        elif damage == "index":
            (folder / corpora.INDEX).write_text('{"arrays": 1}')
        else:
            (folder / "characters.array").write_bytes(bytes(16))
            (folder / corpora.INDEX).write_text('{"arrays": {"characters": ["O", 2]}, "facts": {}}')
    assert list(texts_of(corpora.on_disk(tmp_path, {}, write))) == TEXTS


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match=r"the corpus .* cannot be written: Not a directory"):
        corpora.on_disk(tmp_path / "cache", {}, write)

    def full(append):
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"the corpus .* could not be written: No space left on device"):
        corpora.on_disk(tmp_path / "full", {}, full)


def test_the_key_is_written_for_people(tmp_path):
    folder = corpora.on_disk(tmp_path, {"data": "a"}, write).folder
    assert folder == cache_folders.folder_of(tmp_path, {"data": "a", "format": corpora.FORMAT})
    assert json.loads((folder / "key.json").read_text())["data"] == "a"


def test_files_are_recognised_by_name_size_and_time(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("abc")
    (first,) = cache_folders.identities([path])
    assert first == ("a.txt", 3, path.stat().st_mtime_ns)
    with pytest.raises(UserError, match=r"none.txt could not be read: No such file"):
        cache_folders.identities([tmp_path / "none.txt"])


def test_texts_are_gathered_as_slices_are():
    random = np.random.default_rng(0)
    splits = np.concatenate([[0], np.cumsum(random.integers(0, 5, 50))])
    ids = random.integers(0, 9, splits[-1]).astype(np.int32)
    rows = random.permutation(50)[:20]
    found, lengths = corpora.gather(ids, splits, rows)
    expected = [ids[splits[row] : splits[row + 1]] for row in rows]
    np.testing.assert_array_equal(found, np.concatenate(expected))
    assert lengths.tolist() == [len(each) for each in expected]
    assert len(corpora.gather(ids, splits, rows[:0])[0]) == 0


def test_lengths_of_more_tokens_than_32_bits_can_count():
    splits = np.array([0, 3, 2**31 - 1, 2**31 + 4, 2**33, 2**33 + 7])
    np.testing.assert_array_equal(corpora.lengths_of(splits[[0, 1]]), [3])
    np.testing.assert_array_equal(corpora.lengths_of(splits[[2, 3]]), [5])
    np.testing.assert_array_equal(corpora.lengths_of(splits[[4, 5]]), [7])


def test_an_array_is_read_in_slices(monkeypatch):
    monkeypatch.setattr(corpora, "NUMBERS_AT_ONCE", 3)
    assert [part.tolist() for part in corpora.slices(np.arange(7))] == [[0, 1, 2], [3, 4, 5], [6]]


def test_some_texts_of_a_corpus_in_any_order(tmp_path):
    texts = [f"text {number} {'ä' * (number % 5)}" for number in range(3 * corpora.TEXTS_AT_ONCE)]

    def write_texts(append):
        writer = corpora.TextWriter(append, "texts")
        for start in range(0, len(texts), 1000):
            writer.add(texts[start : start + 1000])
        return {}

    found = corpora.on_disk(tmp_path, {}, write_texts)
    rows = np.random.default_rng(0).permutation(len(texts))[:2000]
    some = corpora.Texts.of(found, "texts", rows)
    expected = [texts[row] for row in rows]
    assert (len(some), list(some), some[7:9], some[-1]) == (2000, expected, expected[7:9], expected[-1])
    assert list(corpora.Texts.of(found, "texts")) == texts
    with pytest.raises(IndexError):
        some[2000]


def test_an_error_in_the_data_leaves_no_array(tmp_path):
    def bad(append):
        write(append)
        raise UserError("line 3")

    with pytest.raises(UserError, match="line 3"):
        corpora.on_disk(tmp_path, {}, bad)
    assert not list(tmp_path.rglob("*.array"))
    assert list(texts_of(corpora.on_disk(tmp_path, {}, write))) == TEXTS


def test_padded():
    found = corpora.padded(np.array([5, 6, 7]), np.array([2, 0, 1]), (4, 3), padding=0)
    assert found.tolist() == [[5, 6, 0], [0, 0, 0], [7, 0, 0], [0, 0, 0]] and found.dtype == np.int32
