"""The answer of translation: sentences with scores, the alignment and the gates, and the map of several sentences."""

import pathlib

import numpy as np
from PIL import Image

from pipelines.app import decoding, limits, markup
from pipelines.app.files import Folder, require_utf8
from pipelines.common.errors import UserError
from pipelines.common.pictures.charts import draw_sentence_map
from pipelines.translation import predict

DRAWN = 4  # sentences whose pictures are shown


def lines_of(source: str) -> list[str]:
    """Returns the sentences. Raises UserError if there is none, or if there are too many or too long ones."""
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    if not lines:
        raise UserError("there is no sentence yet: write one, or choose an example")
    if len(lines) > limits.SENTENCES:
        raise UserError(f"there are {len(lines):,} lines: expected at most {limits.SENTENCES}")
    for number, line in enumerate(lines, start=1):
        if len(line) > limits.SENTENCE:
            raise UserError(f"line {number} has {len(line):,} characters: expected at most {limits.SENTENCE:,}")
        require_utf8(line, f"line {number}")
    return lines


def translate(loaded, source: str, values, folder: Folder) -> tuple[str, str, str | None]:
    """Returns the answers (HTML), the picture of the first few, and the map of three or more sentences."""
    lines, options = lines_of(source), decoding.read(*values)
    found = predict.translate(loaded, lines, options)
    answers = [{"source": line, **answer} for line, answer in zip(lines, found, strict=True)]
    parts, drawn, states = [], [], []
    for number, answer in enumerate(answers):
        if len(answers) > 1:
            parts.append(markup.note(answer["source"]))
        parts.append(decoding.table(decoding.rows_of(answer, "translation")))
        if answer.get("unknown"):
            parts.append(markup.note(f"Words that the model does not know: {', '.join(answer['unknown'])}."))
        if number < DRAWN or len(answers) > 2:
            drawn.append(folder.new("translation.png"))
            states.append(predict.draw(loaded, answer, drawn[-1]))
    sentence_map = None
    if len(answers) > 2:
        sentence_map = folder.new("map.png")
        draw_sentence_map(np.stack(states), lines, sentence_map)
    return "".join(parts), str(below(drawn[:DRAWN], folder)), str(sentence_map) if sentence_map else None


def below(pictures: list[pathlib.Path], folder: Folder) -> pathlib.Path:
    """Returns a picture of several, one below the other."""
    if len(pictures) == 1:
        return pictures[0]
    images = [Image.open(path).convert("RGB") for path in pictures]
    whole = Image.new("RGB", (max(each.width for each in images), sum(each.height for each in images)), "white")
    top = 0
    for each in images:
        whole.paste(each, (0, top))
        top += each.height
    whole.save(path := folder.new("translations.png"))
    return path
