import gzip
import itertools
import random
import unicodedata

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from layers.text import END, GENERATION, PADDING, RESERVED, START, UNKNOWN, Vocabulary
from layers.tokenizer import LEVELS, Tokenizer, learn_vocabulary

TEXTS = ["Two men's dogs, (one brown).", "Zwei Hunde; l’été d'un chien !", "", "A dog's dog", "  日本語 two\tdogs "]
FIRST = len(GENERATION)


def batches(texts, size=2):
    return tf.data.Dataset.from_tensor_slices(tf.constant(texts, tf.string)).batch(size)


def learned(level, texts=TEXTS, size=200, **options):
    return learn_vocabulary(batches(texts), level, size, **options)


def strings(tensor):
    return [text.decode() for text in tensor.numpy()]


@pytest.fixture(scope="module")
def by_words():
    return Tokenizer(Vocabulary([*GENERATION, "▁a", "▁dog", ".", "▁(", "b"]), "word", max_characters=20, max_tokens=4)


@pytest.fixture(scope="module")
def by_subwords():
    return Tokenizer(Vocabulary([*GENERATION, "▁", "▁a", "d", "og", "▁do", "."]), "subword", max_tokens=6)


def test_words_to_ids(by_words):
    ids, cut = by_words.encode(tf.constant(["a dog.", "a b A Dog", "", "(b) a dog", "a" * 21]))
    assert ids.dtype == tf.int32
    assert ids.to_list() == [[4, 5, 6], [4, UNKNOWN, UNKNOWN, UNKNOWN], [], [7, 8, UNKNOWN, 4], [UNKNOWN]]
    assert cut.numpy().tolist() == [False, False, False, True, True]


def test_subwords_to_ids(by_subwords):
    ids, cut = by_subwords.encode(tf.constant(["a dog.", "dog", "", "a-a €", "aaaaaaa"]))
    assert ids.to_list() == [
        [5, 8, UNKNOWN, 9],
        [8, UNKNOWN],
        [],
        [5, UNKNOWN, UNKNOWN, 4, UNKNOWN],
        [5, *[UNKNOWN] * 5],
    ]
    assert cut.numpy().tolist() == [False, False, False, False, True]


def test_tokens_are_shown_as_written(by_words, by_subwords):
    text = tf.constant(["a Hund."])
    assert strings(by_words.tokens(text)[0][0]) == ["▁a", "▁Hund", "."]
    assert strings(by_subwords.tokens(text)[0][0]) == ["▁a", "▁", "H", "u", "n", "d"]


def test_ids_to_text(by_words, by_subwords):
    ids = tf.constant(
        [[START, 4, 5, 6, END, 4, 4], [4, UNKNOWN, 6, PADDING, PADDING, 5, PADDING], [END, *[5] * 6], [0] * 7]
    )
    assert strings(by_words.decode(ids)) == ["a dog.", "a ⁇. dog", "", ""]
    assert strings(by_subwords.decode(tf.constant([[4, UNKNOWN, 5, 8, 6, END]]))) == ["⁇ a dod"]


def test_any_shape_of_ids_is_read(by_words):
    assert strings(by_words.decode(tf.ragged.constant([[4, 5], [], [6]], dtype=tf.int32))) == ["a dog", "", "."]
    assert by_words.decode([[[4, 5], [5, END]]]).numpy().tolist() == [[b"a dog", b"dog"]]  # int32[batch, beam, time]
    assert strings(by_words.decode(np.array([[4, 5]], np.int64))) == ["a dog"]
    assert by_words.decode(tf.zeros([0, 3], tf.int32)).shape == (0,)
    assert strings(by_words.decode(tf.zeros([2, 0], tf.int32))) == ["", ""]


@pytest.mark.parametrize("wrong", [-1, 9])
def test_an_id_out_of_range_is_refused(by_words, wrong):
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{wrong} is not in"):
        by_words.decode([[4, wrong]])


@pytest.mark.parametrize("level", LEVELS)
def test_an_empty_batch(level):
    ids, cut = Tokenizer(learned(level), level).encode(tf.constant([], tf.string))
    assert (ids.shape[0], cut.shape[0]) == (0, 0)


@pytest.mark.parametrize("level", LEVELS)
def test_seen_texts_come_back(level):
    tokenizer = Tokenizer(learned(level), level)
    ids, cut = tokenizer.encode(tf.constant(TEXTS))
    assert strings(tokenizer.decode(ids)) == [" ".join(text.split()) for text in TEXTS]
    assert int(tf.reduce_min(ids)) >= FIRST and not cut.numpy().any()


SMALL = "▁ ab<>s/.'中\n"


@pytest.fixture(scope="module")
def small():
    """A graph: texts to ids and texts again."""
    tokenizer = Tokenizer(learned("subword", ["ab ab abba", "ba s/ > <ss> ab.'", SMALL], size=30), "subword")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def there_and_back(texts):
        ids, _ = tokenizer.encode(texts)
        return ids, tokenizer.decode(ids)

    return there_and_back


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(st.lists(st.text(SMALL, max_size=40), min_size=1, max_size=4))
def test_any_text_of_seen_characters_comes_back(small, texts):
    ids, back = small(tf.constant(texts))
    assert strings(back) == [" ".join(text.replace("▁", "_").split()) for text in texts]
    assert all(id >= FIRST for row in ids.to_list() for id in row)


@pytest.mark.parametrize("level", LEVELS)
def test_reserved_tokens_cannot_be_written_in_a_text(level):
    texts = ["<s>", "</s>", "<pad>", "<unk>", "a<s>b</s>"] * 3
    tokenizer = Tokenizer(learned(level, texts), level)
    ids, _ = tokenizer.encode(tf.constant(texts))
    assert int(tf.reduce_min(ids)) >= FIRST
    assert strings(tokenizer.decode(ids)) == texts
    unseen, _ = Tokenizer(learned(level, ["abc"]), level).encode(tf.constant(texts))
    assert set(unseen.flat_values.numpy().tolist()) & {PADDING, START, END} == set()


@pytest.mark.parametrize("level", LEVELS)
def test_the_vocabulary_is_learned_from_what_is_read(level):
    vocabulary = learned(level, ["Dog dog " + "x" * 9, "DOG é"], lower_case=True, max_characters=8, min_count=2)
    assert "▁dog" in vocabulary.words
    assert [word for word in vocabulary.words if "D" in word or "x" in word or "é" in word] == []
    tokenizer = Tokenizer(vocabulary, level, lower_case=True)
    assert strings(tokenizer.decode(tokenizer.encode(tf.constant(["DOG Dog"]))[0])) == ["dog dog"]


def test_a_subword_vocabulary_has_its_size():
    texts = ["".join(random.Random(seed).choices("abcdef ", k=30)) for seed in range(200)]
    assert 40 < len(learned("subword", texts, size=60)) <= 60
    assert len(learned("subword", texts, size=FIRST + 7)) == FIRST + 7  # six letters and the mark
    with pytest.raises(ValueError, match="6 subwords are fewer than the 7 characters"):
        learned("subword", texts, size=FIRST + 6)


def test_a_tokenizer_is_made_again_from_its_file(tmp_path):
    path = tmp_path / "vocabulary.txt"
    for level in LEVELS:
        vocabulary = learned(level)
        path.write_text(vocabulary.to_text(), encoding="utf-8")
        again = Tokenizer(Vocabulary.load(path), level)
        assert again.encode(tf.constant(TEXTS))[0].to_list() == Tokenizer(vocabulary, level).encode(TEXTS)[0].to_list()


def test_an_extended_vocabulary_keeps_ids_and_takes_longer_matches():
    old = Vocabulary([*GENERATION, "▁", "d", "o", "g", "▁do"])
    new = old.extend(Vocabulary([*GENERATION, "▁", "d", "▁dog", "s"]))
    assert new.words == [*old.words, "▁dog", "s"]
    text = tf.constant(["dogs do"])
    assert Tokenizer(old, "subword").encode(text)[0].to_list() == [[8, 7, UNKNOWN, 8]]
    assert Tokenizer(new, "subword").encode(text)[0].to_list() == [[9, 10, 8]]


def test_a_long_word_takes_linear_time_and_memory():
    letters = "".join(random.Random(0).choices("abc", k=100_000))  # 1,000 different pieces of 100 subwords
    tokenizer = Tokenizer(Vocabulary([*GENERATION, "▁", *"abc", "ab", "abcabcabcabcabc"]), "subword")
    ids, _ = tokenizer.encode(tf.constant([letters, "a"]))
    assert strings(tokenizer.decode(ids)) == [letters, "a"]
    assert int(tf.reduce_min(ids)) >= FIRST


@pytest.mark.parametrize("level", LEVELS)
def test_a_saved_tokenizer_needs_no_file(level, tmp_path):
    module = tf.Module()
    module.tokenizer = Tokenizer(learned(level), level, max_tokens=50)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def there_and_back(texts):
        ids, cut = module.tokenizer.encode(texts)
        return module.tokenizer.decode(ids), ids.to_tensor(), cut

    module.there_and_back = there_and_back
    tf.saved_model.save(module, tmp_path / "first")
    (tmp_path / "first").rename(tmp_path / "moved")
    loaded = tf.saved_model.load(tmp_path / "moved")
    for texts in (TEXTS, ["A dog\udcff".encode(errors="surrogateescape")], []):
        texts = tf.constant(texts, tf.string)
        for ours, theirs in zip(there_and_back(texts), loaded.there_and_back(texts), strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="level is 'words', expected one of word, subword"):
        Tokenizer(Vocabulary(GENERATION), "words")
    with pytest.raises(ValueError, match="level is 'letter'"):
        learned("letter")
    with pytest.raises(ValueError, match=r"begins with <pad>, <unk>, <s>, </s>, but this one with .*'▁a'"):
        Tokenizer(Vocabulary([*RESERVED, "▁a", "▁b"]), "word")


@pytest.mark.parametrize("file", ["multi30k/train.de.gz", "tatoeba/train.tsv.gz"])
def test_real_texts_come_back(real_data, file):
    folder, name = file.split("/")
    with gzip.open(real_data(folder) / name, "rt", encoding="utf-8", newline="\n") as lines:
        texts = [column for line in list(lines)[::40] for column in line.rstrip("\n").split("\t")]
    tokenizer = Tokenizer(learn_vocabulary(batches(texts, 1024), "subword", 2000), "subword")
    encode = tf.function(tokenizer.encode, [tf.TensorSpec([None], tf.string)], autograph=False)
    back, known = [], []
    for ids, _ in batches(texts, 1024).map(encode):
        back += strings(tokenizer.decode(ids))
        known.append(bool(tf.reduce_all(ids.flat_values >= FIRST)))
    assert back == [" ".join(text.split()) for text in texts]
    assert all(known)


@pytest.mark.parametrize("level", LEVELS)
def test_another_spelling_has_the_same_tokens(level):
    vocabulary = learn_vocabulary([tf.constant(["l'été est à Ève", "aujourd'hui l'hiver"])], level, size=40)
    tokenizer = Tokenizer(vocabulary, level)
    texts = ["l'été est à Ève", "l'hiver"]
    wanted = tokenizer.encode(tf.constant(texts))[0].to_list()
    assert not any(UNKNOWN in ids for ids in wanted)
    for form, apostrophe in itertools.product(("NFC", "NFD"), "'’"):
        others = [unicodedata.normalize(form, text).replace("'", apostrophe) for text in texts]
        assert tokenizer.encode(tf.constant(others))[0].to_list() == wanted


@pytest.mark.parametrize("level", LEVELS)
def test_restored_case(level):
    texts = ["Ein Hund läuft am Strand.", "Ein Mann und ein Kind essen.", "Männer essen."]
    vocabulary = learned(level, texts * 9)
    plain, restoring = (Tokenizer(vocabulary, level, restore_case=restore) for restore in (False, True))
    typed = ["EIN HUND LÄUFT AM STRAND.", "ein hund", "Essen MÄNNER", "Ma\u0308nner", "", "Ein Mann und ein Kind"]
    meant = ["ein Hund läuft am Strand.", "ein Hund", "essen Männer", "Männer", "", "Ein Mann und ein Kind"]
    assert restoring.encode(tf.constant(typed))[0].to_list() == plain.encode(tf.constant(meant))[0].to_list()
    assert UNKNOWN not in restoring.encode(tf.constant(meant))[0].flat_values.numpy()
    unknown = tf.constant(["XYZ ßẞ ŉ 漢"])  # no case of it is known
    assert strings(restoring.tokens(unknown)[0].flat_values) == strings(plain.tokens(unknown)[0].flat_values)
    assert restoring.encode(tf.constant([], tf.string))[0].to_list() == []


@pytest.mark.parametrize("level", ["word", "subword"])
def test_words_with_their_tokens(level):
    """Words as they are written; the tokens are those of `tokens`, also of a word in restored case."""
    vocabulary = Vocabulary([*GENERATION, "▁Hund", "▁ein", "s", "."])
    tokenizer = Tokenizer(vocabulary, level, max_tokens=3, restore_case=True)
    texts = tf.constant(["ein HUND Hunds.", "", "Ein"])
    words, tokens = tokenizer.words(texts)
    assert [[word.decode() for word in row] for row in words.to_list()] == [
        ["▁ein", "▁HUND", "▁Hunds", "."], [], ["▁Ein"],
    ]  # fmt: skip
    of_hunds = ["▁Hund", "s"] if level == "subword" else ["▁Hunds"]
    assert [[[token.decode() for token in word] for word in row] for row in tokens.to_list()] == [
        [["▁ein"], ["▁Hund"], of_hunds, ["."]], [], [["▁ein"]],
    ]  # fmt: skip
    joined = [[token for word in row for token in word][:3] for row in tokens.to_list()]
    assert tokenizer.tokens(texts)[0].to_list() == joined
