"""Labels as they are written in tables: 1, "1" and 1.0 are the same one, and an empty cell is none."""

import re

from pipelines.common.errors import UserError

WHOLE_NUMBER = re.compile(r"(-?[0-9]+)\.0+")


def as_name(value) -> str:
    """Returns the value of a cell or JSON field as a name: without white space around it, and "1" for 1 and 1.0."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    name = str(value).strip()
    whole = WHOLE_NUMBER.fullmatch(name)  # pandas writes integers so if a row of the column is empty
    return whole[1] if whole else name


def as_label(value, where: str) -> str:
    """Returns the name of a label. Raises UserError for what cannot be one: an empty string, NaN, null, 1.5, a list."""
    name = as_name(value) if isinstance(value, str | int | float) else ""
    if not name or name.lower() == "nan" or (isinstance(value, float) and not value.is_integer()):
        raise UserError(f"{where} is {value!r}, expected a name or an integer")
    return name
