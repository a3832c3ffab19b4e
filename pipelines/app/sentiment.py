"""The tab of sentiment: the probabilities of a text, its words coloured by the running probability, and the gates."""

import gradio

from pipelines.app import limits
from pipelines.app.files import Folder
from pipelines.app.models import Found, Models
from pipelines.app.tabs import Tab, missing, picture

TASK = "sentiment"
REVIEWS = [
    "The plot is thin, but the two leads make it worth every minute.",
    "It would be wrong to call this a bad film.",
    "Not a bad film.",
    "I wanted to like it. The pictures are lovely and the music is fine, but nobody in it talks like a person, and"
    " after an hour I no longer cared who did it.",
]
GRAMMAR = [  # the language of the embedded sample
    "The plot is weak, but the ending is not bad.",
    "It would be wrong to call this a bad film.",
    "It would be wrong to call this a good film.",
    "Nobody called the plot clever, although I found the film very moving.",
    "The cast was dull and the ending is awful, but the story is far from boring.",
]


def examples(found: Found) -> list[str]:
    return GRAMMAR if found.data == "sample" else REVIEWS


def build(models: Models, folder: Folder):
    if not models.of(TASK):
        missing(TASK, "It takes about a minute.")
        return
    tab = Tab(models, TASK)
    with gradio.Row():
        with gradio.Column():
            text = gradio.Textbox(
                label="Text", lines=5, max_lines=12, max_length=limits.TEXT, elem_id="sentiment-text",
                info=f"At most {limits.TEXT:,} characters.",
            )  # fmt: skip
            button = gradio.Button("Classify", variant="primary", elem_id="sentiment-run")
            tab.examples(text, examples)
        with gradio.Column():
            probabilities = gradio.HTML(elem_id="sentiment-probabilities")
            words = gradio.HTML(elem_id="sentiment-words")
    drawn = picture("sentiment-picture")

    def compute(model, text: str):
        from pipelines.app.answers.sentiment import classify

        return classify(model.loaded, text or "", folder)

    tab.answer([button.click, text.submit], compute, [text], [probabilities, words, drawn])
