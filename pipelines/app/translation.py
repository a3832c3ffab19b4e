"""The tab of translation: answers with scores, the alignment and the gates, and the map of several sentences."""

import pathlib

import gradio
import numpy as np
from PIL import Image

from pipelines.app import decoding, limits, markup
from pipelines.app.files import Folder
from pipelines.app.models import Found, Models
from pipelines.app.tabs import Tab, missing, picture, require_utf8
from pipelines.common.errors import UserError
from pipelines.common.pictures.charts import draw_sentence_map
from pipelines.translation import predict

TASK = "translation"
SHAPES = [  # in the language of the embedded sample
    "The small green crosses are not white.",
    "Is the large red star to the left of the green crosses?",
    "Below the yellow squares there is a small blue circle.",
    "The circles are below the square.\nThe stars are above the square.\nThe small red star is not blue.\n"
    "The large red star is not blue.",
]
EXAMPLES = {
    "de": [
        "Zwei kleine Hunde spielen am Strand mit einem roten Ball.",
        "ein mann mit hut repariert sein fahrrad",
        "Zwei Hunde rennen am Strand.\nEin Hund springt ins Wasser.\nEine Frau liest im Park ein Buch.\n"
        "Ein Mann liest in einem Café eine Zeitung.\nKinder spielen im Schnee.",
    ],
    "en": ["Two dogs are running on the beach.", "A man with a hat is repairing his bicycle."],
    "fr": ["Deux chiens courent sur la plage.", "Un homme avec un chapeau répare son vélo."],
}
DRAWN = 4  # sentences whose pictures are shown


def examples(found: Found) -> list[str]:
    return SHAPES if found.data == "sample" else EXAMPLES.get(found.source, [])


def build(models: Models, folder: Folder):
    if not models.of(TASK):
        missing(TASK, "It takes a few minutes.")
        return
    tab = Tab(models, TASK)
    with gradio.Row():
        with gradio.Column():
            source = gradio.Textbox(
                label="Sentences, one in each line", lines=3, max_lines=10, elem_id="translation-text",
                max_length=limits.SENTENCES * (limits.SENTENCE + 1),
                info=f"At most {limits.SENTENCES} lines of {limits.SENTENCE:,} characters."
                " Three or more are also shown as a map.",
            )  # fmt: skip
            button = gradio.Button("Translate", variant="primary", elem_id="translation-run")
            tab.examples(source, examples)
        with gradio.Column():
            answers = gradio.HTML(elem_id="translation-answers")
            fields = decoding.Decoding(TASK).fields
    drawn, sentence_map = picture("translation-picture"), picture("translation-map")

    def compute(model, source: str, *values):
        return translate(model.loaded, source or "", values, folder)

    outputs = [answers, drawn, sentence_map]
    tab.answer([button.click, source.submit], compute, [source, *fields], outputs)


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
