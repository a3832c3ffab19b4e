"""Preprocessing of frames to the pixels that the encoder takes: in training, evaluation and the exported graph."""

from pipelines.common.vision import images


class Preprocessing:
    """Scales frames: uint8[frames, height, width, 3] -> float32[frames, size, size, 3] from 0 to 255."""

    def __init__(self, *, image_size: int, fit: str):
        self.image_size = image_size
        self.fit = fit

    def __call__(self, frames):
        return images.scale(frames, self.image_size, self.fit)
