"""Live labels: the frames of the webcam, one after another, through the signature `step` of a one-directional model."""

import gradio

from pipelines.app import markup
from pipelines.app.tabs import PRIVATE, Tab

EVERY = 0.2  # seconds between two frames
TIME = 300  # seconds, the longest stream


def build(tab: Tab):
    """Adds the camera and its label to the tab of videos."""
    with gradio.Accordion("Live labels", open=False, elem_id="video-live"):
        gradio.Markdown(
            f"The label of every frame of the webcam, {1 / EVERY:g} a second for at most {TIME // 60} minutes, by a"
            " model that reads videos in one direction. The frames stay on this machine."
        )
        with gradio.Row():
            camera = gradio.Image(
                show_label=False, sources=["webcam"], streaming=True, type="numpy", height=280, elem_id="video-camera",
                webcam_options=gradio.WebcamOptions(mirror=False),
            )  # fmt: skip
            with gradio.Column():
                message = gradio.HTML(elem_id="video-live-message")
                label = gradio.HTML(elem_id="video-live-label")
        state = gradio.State(None)

    def stream(name: str, frame, state):
        models = tab.models
        if name in models.found and name not in models.loaded and name not in models.failed:
            models.load_later(name)
            return markup.note(f"Loading the model {name} …"), "", state

        def compute(model):
            from pipelines.app.answers.live import next_label

            return next_label(model, frame, state)

        fault, shown, after = tab.call(compute, 2, name, ())
        return fault, shown, after

    camera.stream(
        stream, [tab.model, camera, state], [message, label, state], stream_every=EVERY, time_limit=TIME,
        concurrency_id="live", concurrency_limit=1, show_progress="hidden", **PRIVATE,
    )  # fmt: skip
