"""Keeps the numbers in the text of the page equal to those that the experiments give.

A section of the lecture has QUOTES, pieces of the text of README.md with names in the place of numbers:

    "| 400 | {rnn_400:.3f} | {lstm_400:.3f} |"

`refresh` writes new numbers into the page, `differences` compares them with those on the page. The words of a quote
must be on the page once; where lines are broken does not matter.
"""

import re

FIELD = re.compile(r"\{([\w.]+):([^}]*)\}")
NUMBER = r"(-?\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?)"
MEASURED = ("seconds", "ms_", "kib_")  # names that contain one of these depend on the machine, and are not compared
SHARE = 0.3  # a number on the page may differ by this share of it, or by one unit of its last digit
FRAGILE = ("reaches",)  # names of numbers that grow out of rounding: they may differ by a factor of three


def fields(quote: str) -> list[str]:
    """Returns the names in a quote."""
    return [name for name, _ in FIELD.findall(quote)]


def pattern(quote: str) -> re.Pattern:
    """Returns a regular expression that finds a quote on the page, with a group for each number."""
    found, end = "", 0
    for field in FIELD.finditer(quote):
        found += words(quote[end : field.start()]) + NUMBER
        end = field.end()
    return re.compile(found + words(quote[end:]))


def words(text: str) -> str:
    """Returns a regular expression for a text, in which any white space may be a line break."""
    return r"\s+".join(re.escape(word) for word in re.split(r"\s+", text))


def find(page: str, quote: str) -> re.Match:
    """Returns the place of a quote on the page. ValueError: it is not there exactly once."""
    places = list(pattern(quote).finditer(page))
    if len(places) != 1:
        raise ValueError(f"expected {quote!r} once on the page, found it {len(places)} times")
    return places[0]


def refresh(page: str, quotes, numbers: dict[str, float]) -> str:
    """Returns the page with the new numbers. Numbers that are missing stay as they are."""
    for quote in quotes:
        place = find(page, quote)
        for group, (name, form) in reversed(list(enumerate(FIELD.findall(quote), 1))):
            if name in numbers:
                start, end = place.span(group)
                page = page[:start] + format(numbers[name], form) + page[end:]
    return page


def differences(page: str, quotes, numbers: dict[str, float]) -> list[str]:
    """Returns a line for each number that differs from the one on the page."""
    wrong = []
    for quote in quotes:
        for name, written in zip(fields(quote), find(page, quote).groups(), strict=True):
            if name not in numbers or any(word in name for word in MEASURED):
                continue
            digits, _, exponent = written.replace(",", "").partition("e")
            scale = 10.0 ** int(exponent or 0)
            value, unit = scale * float(digits), scale * 10.0 ** -len(digits.partition(".")[2])
            if any(word in name for word in FRAGILE):
                fits = value / 3 <= numbers[name] <= 3 * value
            else:
                fits = abs(value - numbers[name]) <= max(SHARE * abs(value), unit)
            if not fits:
                wrong.append(f"{name}: {written} on the page, {numbers[name]:.6g} now")
    return wrong


def unheld(page: str, quotes) -> list[str]:
    """Returns the decimal numbers in the text of the page that no quote holds; code and addresses are left out."""
    held = [find(page, quote).span(group) for quote in quotes for group in range(1, len(fields(quote)) + 1)]
    held += [place.span() for place in re.finditer(r"```.*?```|`[^`]*`|\]\([^)]*\)", page, re.DOTALL)]
    found = [place for place in re.finditer(r"\d[\d,]*\.\d+", page)]
    return [place[0] for place in found if not any(start <= place.start() < end for start, end in held)]
