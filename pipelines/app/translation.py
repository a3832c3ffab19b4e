"""The tab of translation: answers with scores, the alignment and the gates, and the map of several sentences."""

import gradio

from pipelines.app import decoding, limits
from pipelines.app.files import Folder
from pipelines.app.models import Found, Models
from pipelines.app.tabs import Tab, missing, picture

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
        from pipelines.app.answers.translation import translate

        return translate(model.loaded, source or "", values, folder)

    outputs = [answers, drawn, sentence_map]
    tab.answer([button.click, source.submit], compute, [source, *fields], outputs)
