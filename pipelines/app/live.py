"""Live labels: the frames of the webcam, one after another, through the signature `step` of a one-directional model."""

import html

import gradio
import numpy as np
import tensorflow as tf

from pipelines.app.tabs import PRIVATE, Tab
from pipelines.common.errors import UserError

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
        fault, shown, after = tab.call(lambda model: next_label(model, frame, state), 2, name, ())
        return fault, shown, after

    camera.stream(
        stream, [tab.model, camera, state], [message, label, state], stream_every=EVERY, time_limit=TIME,
        concurrency_id="live", concurrency_limit=1, show_progress="hidden", **PRIVATE,
    )  # fmt: skip


def next_label(model, frame: np.ndarray | None, state: tuple[str, dict] | None) -> tuple[str, tuple[str, dict] | None]:
    """Returns the label of the next frame (HTML), and the state after it.

    Args:
        frame: uint8[height, width, 3]; None before the first one.
        state: the name of the model and its state by name, after the frame before; None at first.

    Raises:
        UserError: The model needs a whole video, or features.
    """
    step = model.loaded.signatures.get("step")
    inputs = step.structured_input_signature[1] if step is not None else {}
    if "frames" not in inputs:
        raise UserError(f"{model.name} has no live labels: it needs a whole video, or features in place of frames")
    if frame is None:
        return "", state
    before = state[1] if state is not None and state[0] == model.name else {}
    states = {
        name: tf.constant(before[name]) if name in before else tf.zeros([1, *spec.shape[1:]], spec.dtype)
        for name, spec in inputs.items()
        if name != "frames"
    }
    found = step(frames=tf.constant(np.ascontiguousarray(frame)[None, :, :, :3], tf.uint8), **states)
    label, sure = found["labels"][0].numpy().decode(), float(found["probabilities"][0].numpy().max())
    shown = f'<span class="live">{html.escape(label)}</span> {sure:.0%}'
    return shown, (model.name, {name: found[name].numpy() for name in states})
