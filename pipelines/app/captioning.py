"""The tab of captioning: captions of an image with scores, and where the model looked for each word."""

import gradio

from pipelines.app import decoding, limits
from pipelines.app.files import Folder, as_uploaded
from pipelines.app.models import Found, Models
from pipelines.app.tabs import Tab, missing, picture
from pipelines.common import named_runs
from pipelines.common.files import data_files

TASK = "captioning"
SAMPLES = named_runs.SAVED_MODELS.parent / "data" / "samples"
DRAWINGS = (3805, 3812, 3802, 3841)  # of the embedded sample


def build(models: Models, folder: Folder):
    if not models.of(TASK):
        missing(TASK, "It takes a few minutes.")
        return
    photos = [str(folder.copy(file)) for file in data_files(SAMPLES / "photos", "*.jpg")]
    files = [SAMPLES / "captioning" / "images" / f"{number}.png" for number in DRAWINGS]
    drawings = [str(folder.copy(file)) for file in files if file.is_file()]

    def examples(found: Found) -> list[str]:
        return drawings if found.data == "sample" else photos

    tab = Tab(models, TASK)
    with gradio.Row():
        with gradio.Column():
            image = gradio.Image(
                show_label=False, sources=["upload", "webcam", "clipboard"], height=320, elem_id="captioning-image",
                type="filepath", buttons=["fullscreen"],
            )  # fmt: skip
            as_uploaded(image)
            gradio.Markdown(
                f"A JPEG or PNG file of at most {limits.IMAGE >> 20} MiB, a photo of the webcam, or a copied image."
            )
            button = gradio.Button("Caption", variant="primary", elem_id="captioning-run")
            tab.examples(image, examples)
        with gradio.Column():
            answers = gradio.HTML(elem_id="captioning-answers")
            fields = decoding.Decoding(TASK).fields
    drawn = picture("captioning-picture")

    def compute(model, image: str | None, *values):
        from pipelines.app.answers.captioning import caption

        return caption(model.loaded, image, values, folder)

    tab.answer([button.click], compute, [image, *fields], [answers, drawn])
