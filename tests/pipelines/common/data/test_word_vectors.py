import gzip
import tracemalloc

import numpy as np
import pytest

from layers.text import RESERVED
from pipelines.common.data import word_vectors
from pipelines.common.errors import UserError

WORDS = [*RESERVED, "the", "film", "Paris", "don't", ". . .", "naïve", "unheard"]
ROWS = {"the": "0.1 -2 3e-1", "film": "1 1 1", "paris": "4 5 6", "Paris": "7 8 9", ". . .": "0 0.5 0", "naïve": "2 2 2"}


def write(path, rows=ROWS, header=None, separator=" ", end="\n"):
    lines = [separator.join([word, *numbers.split()]) + end for word, numbers in rows.items()]
    path.write_bytes("".join([f"{header}\n" if header else "", *lines]).encode())
    return path


def vectors(path, words=WORDS, units=3):
    return word_vectors.read(path, words, units)


@pytest.mark.parametrize("header", [None, "6 3"], ids=["GloVe", "word2vec"])
@pytest.mark.parametrize(("separator", "end"), [(" ", "\n"), (" ", " \n"), ("\t", "\r\n"), ("  ", "\n")])
def test_formats(tmp_path, capsys, header, separator, end):
    found = vectors(write(tmp_path / "some.vec", ROWS, header, separator, end))
    np.testing.assert_array_equal(found.found, [0, 0, 1, 1, 1, 0, 1, 1, 0])
    np.testing.assert_allclose(found.values[2], [0.1, -2, 0.3], rtol=1e-6)
    np.testing.assert_array_equal(found.values[3:5], [[1, 1, 1], [7, 8, 9]])
    np.testing.assert_array_equal(found.values[6:8], [[0, 0.5, 0], [2, 2, 2]])
    assert not found.values[~found.found].any() and found.values.dtype == np.float32
    assert capsys.readouterr().err == ""


def test_compressed(tmp_path):
    plain = write(tmp_path / "some.txt")
    packed = tmp_path / "some.txt.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    np.testing.assert_array_equal(vectors(packed).values, vectors(plain).values)
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"some\.txt\.gz is damaged after line \d: Compressed file ended"):
        vectors(packed)
    packed.write_bytes(plain.read_bytes())
    with pytest.raises(UserError, match=r"some\.txt\.gz is damaged after line 0: Not a gzipped file"):
        vectors(packed)


@pytest.mark.parametrize("order", [["Paris", "paris"], ["paris", "Paris"]])
def test_a_word_is_looked_up_as_it_is_then_in_lower_case(tmp_path, order):
    path = write(tmp_path / "some.vec", {word: ROWS[word] for word in order})
    words = ["Paris", "paris", "PARIS", "▁Paris", "▁", "▁PARIS"]
    expected = [[7, 8, 9], [4, 5, 6], [4, 5, 6], [7, 8, 9], [0, 0, 0], [4, 5, 6]]
    np.testing.assert_array_equal(vectors(path, words).values, expected)
    write(path, {"▁Paris": "1 1 1", **{word: ROWS[word] for word in order}})  # vectors of pieces
    np.testing.assert_array_equal(vectors(path, words).values[3], [1, 1, 1])


def test_the_first_of_several_vectors_is_used(tmp_path):
    path = tmp_path / "some.vec"
    path.write_text("paris 1 1 1\nparis 2 2 2\nParis 3 3 3\nParis 4 4 4\n")
    np.testing.assert_array_equal(vectors(path, ["Paris", "paris"]).values, [[3, 3, 3], [1, 1, 1]])


def test_words_that_are_not_utf_8_or_white_space_are_skipped(tmp_path):
    path = tmp_path / "some.vec"
    path.write_bytes(
        b"\xef\xbb\xbfthe 1 2 3\n\xff\xfe 1 2 3\n\n  1 2 3\n 1 2 3\n\xc2\xa0 1 2 3\n\xe2\x80\xa8 1 2 3\nfilm 4 5 6"
    )
    np.testing.assert_array_equal(vectors(path, ["the", "film"]).values, [[1, 2, 3], [4, 5, 6]])


def test_a_header_with_a_wrong_number_of_vectors_is_reported(tmp_path, capsys):
    path = write(tmp_path / "some.vec", header="99 3")
    assert vectors(path).found.sum() == 5
    assert capsys.readouterr().err == f"{path}: the first line announces 99 vectors, but there are 6\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "some.vec has no vectors: expected a word and 3 numbers in each line"),
        (b"6 3\n", "some.vec has no vectors"),
        (
            b"the 1 2 3 4\nfilm 1 2 3 4\n",
            "has vectors of 4 numbers, but --embedding-units is 3: give --embedding-units 4",
        ),
        (b"1 2\nthe 1 2\n", "some.vec has vectors of 2 numbers, but --embedding-units is 3: give --embedding-units 2"),
        (b"the 1 2 3\nfilm 1 2\n", "some.vec, line 2: 2 numbers, expected a word and 3 numbers"),
        (b"2 3\nthe 1 2 3\nfilm\n", "some.vec, line 3: 0 numbers, expected a word and 3 numbers"),
        (b"the 1 2 3\nfilm 1.0 2.0 3.0 4.0\n", "some.vec, line 2: 4 numbers, expected a word and 3 numbers"),
        (b"the 1 2 3\nfilm  1 2\n", "some.vec, line 2: 1 numbers, expected a word and 3 numbers"),
        (b"the 1 2 3\nfilm 1 nan 3\n", "some.vec, line 2: 'nan' in the vector, expected a finite number"),
        (b"the 1 2 3\nfilm 1 2 1e39\n", "some.vec, line 2: '1e39' in the vector, expected a finite number"),
        (b"the 1 2 3\nfilm 1 2 x\xff\n", "some.vec, line 2: 'x\ufffd' in the vector, expected a finite number"),
        (b"the 1,0 2 3\n", "some.vec, line 1: '1,0' in the vector"),
        (b"2 3\nthe \0\0\x81\0 \0\0\n", "some.vec, line 2 is not text: expected word vectors as text, not a binary"),
        (b"PK\3\4\0\0\0\n", "some.vec, line 1 is not text"),
        (b"le 1 2 3\nla 1 2 3\n", "has no vector for any of the 9 words of the vocabulary, such as 'unheard'"),
    ],
)
def test_bad_files(tmp_path, content, message):
    path = tmp_path / "some.vec"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        vectors(path)
    assert message in str(error.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"none\.vec could not be read: No such file"):
        vectors(tmp_path / "none.vec")
    with pytest.raises(UserError, match="could not be read: Is a directory"):
        vectors(tmp_path)


def test_words_without_a_vector_get_random_ones_of_the_same_distribution():
    draw = np.random.default_rng(0)
    values = draw.normal([1, -2, 0], [0.5, 3, 0.1], (8000, 3)).astype(np.float32)
    found = np.arange(8000) < 4000
    values[~found] = 0
    read = word_vectors.WordVectors("some.vec", values, found)
    made = read.embeddings(seed=1)
    np.testing.assert_array_equal(made[found], values[found])
    np.testing.assert_allclose(made[~found].mean(axis=0), values[found].mean(axis=0), atol=0.2)
    np.testing.assert_allclose(made[~found].std(axis=0), values[found].std(axis=0), rtol=0.05)
    assert made.dtype == np.float32 and len(np.unique(made[~found][:, 0])) > 3900
    np.testing.assert_array_equal(read.embeddings(seed=1), made)
    assert not np.array_equal(read.embeddings(seed=2), made)


def test_coverage():
    read = word_vectors.WordVectors("some.vec", np.zeros((4, 2)), np.array([False, False, True, True]))
    expected = "some.vec: vectors for 2 of the 4 words of the vocabulary (50.0%), which are 75.0% of the words of the"
    assert expected in read.coverage(np.array([2, 3, 3, 1]))
    assert "0.0% of the words of the training texts" in read.coverage(np.array([], np.int32))


def test_only_the_rows_of_the_vocabulary_are_kept(tmp_path):
    """The vectors of the file would take ten times as much memory as is allowed."""
    path = tmp_path / "some.vec"
    with path.open("w") as file:
        for number in range(2000):
            file.write(f"word{number} {'0.123456 ' * 50}\n")
    tracemalloc.start()
    found = vectors(path, ["word1999", "word3"], 50)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.found.all() and peak < 40_000 == 2000 * 50 * 4 / 10
