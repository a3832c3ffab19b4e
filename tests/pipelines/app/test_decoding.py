"""The options of decoding."""

import pytest

pytest.importorskip("gradio", reason="needs the extra app: pip install 'unfold[app]'")

from pipelines.app import decoding
from pipelines.common.errors import UserError
from pipelines.common.serving.decoding_options import DecodingOptions

EMPTY = {name: None for name in decoding.FIELDS} | {"prefix": "", "sampled": False, "n_best": 1}


def read(**given) -> DecodingOptions:
    return decoding.read(*(EMPTY | given).values())


def test_empty_fields_have_the_values_of_the_model():
    assert read() == DecodingOptions()
    assert read(prefix=None) == DecodingOptions()


def test_searching_and_sampling():
    both = {"beam_size": 3, "n_best": 2, "temperature": 0.5, "max_length": 9}
    assert read(**both, prefix=" a  b ") == DecodingOptions(prefix="a b", beam_size=3, n_best=2, max_length=9)
    assert read(**both, sampled=True) == DecodingOptions(temperature=0.5, max_length=9)
    assert read(sampled=True).signature == "sample"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"beam_size": 51}, "beam size is 51: expected a number from 1 to 50"),
        ({"length_penalty": -1}, "length penalty is -1: expected a number from 0 to 10"),
        ({"top_p": 0, "sampled": True}, "top p is 0: expected a number from 1e-06 to 1"),
        ({"prefix": "a" * 201}, "the first words have 201 characters: expected at most 200"),
    ],
)
def test_wrong_values_are_one_sentence(given, sentence):
    with pytest.raises(UserError, match=sentence):
        read(**given)


def test_rows_of_an_answer():
    answer = {"caption": "a <b>", "score": -1.5, "confidence": 0.25, "candidates": ["a <b>", "c", ""]}
    assert decoding.rows_of(answer, "caption")[1] == ["2", "c", "", ""]  # an export that does not return the scores
    answer["scores"] = [-1.5, -2.25, None]
    rows = decoding.rows_of(answer, "caption")
    assert rows == [["1", "a <b>", "-1.500", "25%"], ["2", "c", "-2.250", ""]]
    assert "a &lt;b&gt;" in decoding.table(rows) and "confidence" in decoding.table(rows)
    assert decoding.rows_of({"caption": "", "score": -1.0}, "caption") == [["1", "(nothing)", "-1.000", ""]]
