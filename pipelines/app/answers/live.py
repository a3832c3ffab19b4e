"""The label of the next frame of a webcam, by the signature `step` of a one-directional model."""

import html

import numpy as np
import tensorflow as tf

from pipelines.common.errors import UserError


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
