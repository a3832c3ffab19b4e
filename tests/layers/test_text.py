import unicodedata

import hypothesis
import hypothesis.strategies as st
import pytest
import tensorflow as tf

from layers.text import (
    END,
    GENERATION,
    MARK,
    PADDING,
    RESERVED,
    START,
    UNKNOWN,
    Composition,
    Vocabulary,
    count_words,
    join_pieces,
    normalize,
    pad,
    split_pieces,
    split_words,
)

DELICATE = st.sampled_from("ab1.(<'’_▁中ひก €\n\t\x00\xa0\u3000\u0301\ufe0f\u200d\u00ad\ufeff\ufffe😀İß")
TEXTS = st.text(DELICATE, max_size=30) | st.text(max_size=30) | st.text("a中'", min_size=90, max_size=230)


def words(text, **options):
    texts, _ = normalize(tf.constant([text]), **options)
    return [word.decode() for word in split_words(texts)[0].numpy()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\r\n\x00\u00a0\u3000\u2028", []),
        ("Good!", ["good", "!"]),
        ("don't DON’T", ["don't", "don't"]),
        ("'quoted' ''twice'' rock 'n' roll", ["'", "quoted", "'", "''", "twice", "''", "rock", "'", "n", "'", "roll"]),
        ("one<br />two<BR>three<br/>four", ["one", "two", "three", "four"]),
        ("7/10, well-made...", ["7", "/", "10", ",", "well", "-", "made", ".", ".", "."]),
        ("L’ÉTÉ", ["l'été"]),
        ("cafe\u0301", ["cafe\u0301"]),
        ("ПРИВЕТ, мир", ["привет", ",", "мир"]),
        ("映画はいい。good", ["映", "画", "は", "い", "い", "。", "good"]),
        ("co\u00adop \ufeffx", ["coop", "x"]),
        ("😀😀", ["😀", "😀"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
    ],
)
def test_split_words(text, expected):
    assert words(text) == expected


def test_case_and_breaks_are_kept_when_asked():
    assert words("A<br>b", lower_case=False, html_breaks=False) == ["A", "<", "br", ">", "b"]


def test_bytes_that_are_not_utf8_are_replaced():
    assert words(b"good \xff\xfe film") == ["good", "\ufffd", "\ufffd", "film"]


def test_characters_not_bytes_are_cut_and_told():
    texts, cut = normalize(tf.constant(["éééé", "ééé", ""]), max_characters=3)
    assert [text.decode() for text in texts.numpy()] == ["ééé", "ééé", ""]
    assert cut.numpy().tolist() == [True, False, False]


def test_neither_split_can_make_reserved_words():
    for word in GENERATION:
        assert word not in words(word)
        assert pieces(word) == ["▁<", *word[1:-1].replace("/", "/ ").split(), ">"]


def pieces(text):
    return [piece.decode() for piece in split_pieces(tf.constant([text]))[0].numpy()]


def spaced(text):
    """The text with each run of white space and control characters as one space, none at the ends."""
    space = {"Cc", "Zs", "Zl", "Zp"}
    return " ".join("".join(" " if unicodedata.category(letter) in space else letter for letter in text).split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (" \t\r\n\x00\u00a0\u3000\u2028", ""),
        ("Two men's dogs, (one brown).", "▁Two ▁men's ▁dogs , ▁( one ▁brown ) ."),
        ("  L’été\n d'Ève ", "▁L’été ▁d'Ève"),
        ("'quoted' rock'n'roll 'n' d''Or", "▁' quoted ' ▁rock'n'roll ▁' n ' ▁d ' ' Or"),
        ("(don't)'s", "▁( don't ) ' s"),
        ("映画'は x'映", "▁映 画 ' は ▁x ' 映"),
        ("cafe\u0301 हिन्दी กำ", "▁cafe\u0301 ▁हिन्दी ▁ก ำ"),
        ("❤\ufe0fa 👨\u200d👩", "▁❤\ufe0f a ▁👨 \u200d 👩"),
        ("a_b ▁c", "▁a _ b ▁_ c"),
        ("$3.50", "▁$ 3 . 50"),
    ],
)
def test_split_pieces(text, expected):
    assert pieces(text) == expected.split(" ") if expected else pieces(text) == []


def test_a_long_piece_is_cut():
    assert pieces("é" * 250) == [MARK + "é" * 99, "é" * 100, "é" * 51]
    assert pieces("é" * 99 + " é") == [MARK + "é" * 99, "▁é"]


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
def there_and_back(texts):
    texts, _ = normalize(texts, lower_case=False, html_breaks=False)
    split = split_pieces(texts)
    return texts, split, join_pieces(split)


@hypothesis.settings(deadline=None, max_examples=200)
@hypothesis.given(st.lists(TEXTS, min_size=1, max_size=4))
def test_pieces_make_the_text_again(texts):
    _, split, joined = there_and_back(tf.constant(texts))
    assert [text.decode() for text in joined.numpy()] == [spaced(text.replace(MARK, "_")) for text in texts]
    for piece in split.flat_values.numpy():
        assert 1 <= len(piece.decode()) <= 100
        assert piece.decode() != MARK and MARK not in piece.decode()[1:]


@hypothesis.settings(deadline=None)
@hypothesis.given(st.binary(max_size=40))
def test_bytes_that_are_not_utf8_do_not_disturb_the_split(text):
    valid, _, joined = there_and_back(tf.constant([text]))
    assert joined.numpy()[0].decode() == spaced(valid.numpy()[0].decode().replace(MARK, "_"))


def test_count_words():
    batches = [tf.constant(["b", "é"]), tf.constant([], tf.string), tf.constant(["é", "é"])]
    assert count_words(batches) == {"é": 3, "b": 1}


def test_learn_orders_by_count_then_letters():
    batches = [tf.constant(["b", "a", "c"]), tf.constant(["c", "b", "c", "rare"])]
    assert Vocabulary.learn(batches).words == [*RESERVED, "c", "b", "a", "rare"]
    assert Vocabulary.learn(batches, size=4).words == [*RESERVED, "c", "b"]
    assert Vocabulary.learn(batches, min_count=2).words == [*RESERVED, "c", "b"]


def test_a_vocabulary_to_write_with_reserves_start_and_end():
    texts = tf.constant(["<s> a </s> <pad>", "<unk>"])
    vocabulary = Vocabulary.learn([split_pieces(texts).flat_values], reserved=GENERATION)
    assert vocabulary.words[: len(GENERATION)] == ["<pad>", "<unk>", "<s>", "</s>"]
    assert (GENERATION.index("<s>"), GENERATION.index("</s>")) == (START, END)
    assert int(tf.reduce_min(vocabulary(split_pieces(texts)))) == len(GENERATION)
    assert Vocabulary.learn([tf.constant(["a", "a", "b"])], size=5, reserved=GENERATION).words == [*GENERATION, "a"]


def test_ids_and_back():
    vocabulary = Vocabulary([*RESERVED, "good", "été"])
    ids = vocabulary(tf.ragged.constant([["été", "new"], [], ["good"]]))
    assert ids.to_list() == [[3, UNKNOWN], [], [2]]
    assert ids.dtype == tf.int32
    assert pad(ids).numpy().tolist() == [[3, UNKNOWN], [PADDING, PADDING], [2, PADDING]]
    assert [word.decode() for word in vocabulary.to_words([0, 1, 3]).numpy()] == ["<pad>", "<unk>", "été"]
    assert vocabulary(tf.constant([["good"]])).numpy().tolist() == [[2]]


@pytest.mark.parametrize(("lists", "shape"), [([], (0, 1)), ([[]], (1, 1)), ([[], []], (2, 1)), ([[1, 2, 3]], (1, 3))])
def test_pad_gives_one_step_at_least(lists, shape):
    ragged = tf.RaggedTensor.from_row_lengths(
        tf.constant([id for ids in lists for id in ids], tf.int32), tf.constant([len(ids) for ids in lists], tf.int64)
    )
    assert pad(ragged).shape == shape


def test_file_has_one_word_a_line(tmp_path):
    vocabulary = Vocabulary([*RESERVED, "good", "日"])
    path = tmp_path / "vocabulary.txt"
    path.write_text(vocabulary.to_text(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "<pad>\n<unk>\ngood\n日\n"
    assert Vocabulary.load(path).words == vocabulary.words


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with <pad>, <unk>"),
        (b"good\nbad\n", "begins with <pad>, <unk>"),
        (b"<pad>\n<unk>\na\na\n", "word 4 .*'a', is there twice"),
        (b"<pad>\n<unk>\n\na\n", "word 3 .* is empty"),
        (b"<pad>\n<unk>\n\xff\n", "utf-8"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, content, message):
    path = tmp_path / "vocabulary.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        Vocabulary.load(path)


def test_extend_keeps_ids():
    old, new = Vocabulary([*RESERVED, "a", "b"]), Vocabulary([*RESERVED, "c", "b"])
    assert old.extend(new).words == [*RESERVED, "a", "b", "c"]


def test_a_saved_module_needs_no_file(tmp_path):
    module = tf.Module()
    module.vocabulary = Vocabulary([*RESERVED, "good"])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def read(texts):
        return pad(module.vocabulary(split_words(normalize(texts)[0])))

    module.read = read
    tf.saved_model.save(module, tmp_path / "first")
    (tmp_path / "first").rename(tmp_path / "moved")
    loaded = tf.saved_model.load(tmp_path / "moved")
    assert loaded.read(tf.constant(["Good bad", ""])).numpy().tolist() == [[2, UNKNOWN], [0, 0]]


EVERY_COMPOSED = [chr(code) for code in range(0xA0, 0x11940) if unicodedata.normalize("NFD", chr(code)) != chr(code)
                  and unicodedata.is_normalized("NFC", chr(code))]  # fmt: skip


def test_composition_is_that_of_unicode():
    words = ["", "x", "été", "Việt", "한국어", "각", "e\u0301\u0301", "중ㅏ", *EVERY_COMPOSED]
    found = Composition()(tf.constant([unicodedata.normalize("NFD", word) for word in words])).numpy()
    assert [word.decode() for word in found] == [unicodedata.normalize("NFC", word) for word in words]
    assert Composition()(tf.constant([], tf.string)).shape == (0,)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("apostrophe", ["'", "’", "ʼ"])
@pytest.mark.parametrize("known", ["l'été", "l’été"])
def test_a_word_in_another_spelling_has_the_same_id(form, apostrophe, known):
    vocabulary = Vocabulary([*RESERVED, "x", known, "한국어"])
    words = [unicodedata.normalize(form, word) for word in (f"l{apostrophe}été", "한국어", "x", f"y{apostrophe}é", "")]
    assert vocabulary(tf.constant(words)).numpy().tolist() == [3, 4, 2, UNKNOWN, UNKNOWN]
    assert vocabulary(tf.constant([words])).shape == (1, 5) and vocabulary(tf.constant(words[0])).numpy() == 3


def test_a_known_word_keeps_its_id_in_every_spelling():
    words = ["l'e\u0301", "l'é", "l’é", "l’e\u0301"]
    assert Vocabulary([*RESERVED, *words])(tf.constant(words)).numpy().tolist() == [2, 3, 4, 5]
