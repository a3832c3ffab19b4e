"""Frames become pixels for the encoder here, for training, evaluation and the exported graph alike."""

from pipelines.common.vision import images


class Preprocessing:
    """Frames uint8[frames, height, width, 3] -> float32[frames, size, size, 3] from 0 to 255."""

    def __init__(self, *, size: int, fit: str):
        self.size = size
        self.fit = fit

    def __call__(self, frames):
        return images.scale(frames, self.size, self.fit)
