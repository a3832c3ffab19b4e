"""The tab of videos: the labels over time, the segments, the video with its labels, and live labels."""

import gradio

from pipelines.app import limits, live
from pipelines.app.captioning import SAMPLES
from pipelines.app.files import Folder, as_uploaded
from pipelines.app.models import Found, Models
from pipelines.app.tabs import PRIVATE, Tab, missing, picture

TASK = "video"
CLIPS = ("206.mp4", "240.mp4", "215.mp4")  # of the embedded sample


def build(models: Models, folder: Folder):
    if not models.of(TASK):
        missing(TASK, "It takes about a minute.")
        return
    files = [SAMPLES / "video" / "clips" / name for name in CLIPS]
    clips = [str(folder.copy(file)) for file in files if file.is_file()]

    def examples(found: Found) -> list[str]:
        return clips if found.data == "sample" else []

    tab = Tab(models, TASK)
    features = tab.found[0].features
    with gradio.Row():
        with gradio.Column():
            with gradio.Column(visible=not features) as takes_frames:
                clip = gradio.Video(
                    show_label=False, sources=["upload", "webcam"], include_audio=False,
                    elem_id="video-clip", buttons=[],
                )  # fmt: skip
                as_uploaded(clip)
                gradio.Markdown(
                    f"A video of at most {limits.VIDEO >> 20} MiB, {limits.SECONDS} s and {limits.FRAMES:,} frames, or"
                    " a recording of the webcam."
                )
            with gradio.Column(visible=features) as takes_features:
                array = gradio.File(show_label=False, file_types=[".npy"], height=140, elem_id="video-features")
                gradio.Markdown(
                    "This model takes features of frames: a `.npy` file, float[features, frames], of at most"
                    f" {limits.VIDEO >> 20} MiB."
                )
            button = gradio.Button("Label", variant="primary", elem_id="video-run")
            tab.examples(clip, examples)
        with gradio.Column():
            segments = gradio.HTML(elem_id="video-segments")
            labelled = gradio.Video(
                show_label=False,
                interactive=False,
                visible=False,
                buttons=["download"],
                elem_id="video-labelled",
            )
    timeline = picture("video-timeline")

    def fields_of(name: str) -> list[gradio.Column]:
        features = models.found[name].features
        return [gradio.Column(visible=not features), gradio.Column(visible=features)]

    tab.model.change(fields_of, tab.model, [takes_frames, takes_features], **PRIVATE)

    def compute(model, clip: str | None, array: str | None):
        from pipelines.app.answers.video import label_clip, label_features

        if models.found[model.name].features:
            return label_features(model.loaded, array, folder)
        return label_clip(model.loaded, clip, folder)

    tab.answer([button.click], compute, [clip, array], [segments, labelled, timeline])
    if not all(each.features for each in tab.found):
        live.build(tab)
