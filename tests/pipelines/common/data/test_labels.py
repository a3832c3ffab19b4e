import math

import pytest

from pipelines.common.data.labels import as_label
from pipelines.common.errors import UserError


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([1, "1", 1.0, "1.0", "1.00", " 1 "], "1"),
        ([-1, "-1", -1.0, "-1.0"], "-1"),
        ([0, "0", 0.0, "0.0"], "0"),
        (["positive", " positive\t"], "positive"),
        ([True], "true"),
        (["1.5"], "1.5"),
        (["v1.0"], "v1.0"),
        (["007"], "007"),
        (["None"], "None"),
        (["banana"], "banana"),
    ],
)
def test_spellings_of_one_label(values, name):
    assert {as_label(value, "here") for value in values} == {name}


@pytest.mark.parametrize("value", ["", "  ", "nan", "NaN", " NAN ", None, math.nan, math.inf, 1.5, [1], {}, b"1"])
def test_what_is_not_a_label_is_refused(value):
    with pytest.raises(UserError, match=r"line 7: label is .*, expected a name or an integer"):
        as_label(value, "line 7: label")
