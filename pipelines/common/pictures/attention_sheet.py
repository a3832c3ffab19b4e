"""Pictures of where a captioning model looked for each word: the photo again for every word, dark where the attention
has little weight, as in Figure 3 of Xu et al. 2015, "Show, attend and tell"."""

import dataclasses

import numpy as np
from PIL import Image

from pipelines.common.pictures.contact_sheet import thumbnail
from pipelines.common.pictures.drawing import INK, picture, shorten

ACROSS = 7  # photos in a row
SIDE, GAP, LEFT, TOP = 1.5, 0.12, 0.3, 0.55  # inches: a photo, between two, left and top margins
HEAD, FOOT = 0.42, 0.24  # inches: a caption above its photos, a word below its photo
DARK = 0.25  # share of the brightness that remains without any weight
MAX_CAPTION, MAX_WORD = 120, 18  # characters


@dataclasses.dataclass(frozen=True)
class Attended:
    """An image, its caption, and where the model looked.

    Attributes:
        file: the image.
        caption: the caption as a string.
        words: list of strings [time].
        attention: float[time, height, width], the weights of the positions for each word.
        crop: whether the positions cover the largest square in the middle of the image, not all of it.
    """

    file: str
    caption: str
    words: list[str]
    attention: np.ndarray
    crop: bool = False


def draw_attention_sheet(items: list[Attended], png, title: str):
    """Draws each image, and then the image again for each word of its caption, bright where the model looked.

    Raises:
        ValueError: an image does not have weights for as many words as its caption has.
    """
    for item in items:
        if len(item.words) != len(item.attention):
            raise ValueError(f"{len(item.words)} words do not fit attention of the shape {np.shape(item.attention)}")
    rows = [max(1, -(-(len(item.words) + 1) // ACROSS)) for item in items]
    across = max(3, min(ACROSS, max((len(item.words) + 1 for item in items), default=1)))
    width = 2 * LEFT + across * SIDE + (across - 1) * GAP
    height = TOP + sum(HEAD + count * (SIDE + FOOT) for count in rows) + 0.15
    with picture(png, width, height) as figure:
        figure.text(LEFT / width, 1 - 0.3 / height, title, fontsize=12, fontweight="bold", va="center")
        top = height - TOP
        for item, count in zip(items, rows, strict=True):
            caption = shorten(item.caption or "(nothing)", MAX_CAPTION)
            figure.text(LEFT / width, (top - 0.22) / height, caption, fontsize=10.5, va="center", color=INK)
            photo = thumbnail(item.file)
            lit = [photo, *(highlighted(photo, weights, item.crop) for weights in item.attention)]
            for place, (pixels, word) in enumerate(zip(lit, ["", *item.words], strict=True)):
                row, column = divmod(place, ACROSS)
                x = LEFT + column * (SIDE + GAP)
                y = top - HEAD - row * (SIDE + FOOT) - SIDE
                axes = figure.add_axes((x / width, y / height, SIDE / width, SIDE / height))
                axes.imshow(pixels, interpolation="bilinear")
                axes.axis("off")
                word = shorten(word, MAX_WORD)
                figure.text((x + SIDE / 2) / width, (y - 0.1) / height, word, fontsize=9.5, ha="center", va="center")
            top -= HEAD + count * (SIDE + FOOT)


def highlighted(photo: np.ndarray, weights: np.ndarray, crop: bool = False) -> np.ndarray:
    """Returns a photo that is as bright as it was where the weight is largest, and darker elsewhere.

    Args:
        photo: uint8[height, width, 3].
        weights: float[rows, columns], at least 0, spread smoothly over the photo.
        crop: whether the weights belong to the largest square in its middle; the rest is dark.
    """
    height, width, _ = photo.shape
    side = min(height, width)
    size = (side, side) if crop else (width, height)
    smooth = Image.fromarray(np.asarray(weights, np.float32)).resize(size, Image.Resampling.BICUBIC)
    light = np.clip(np.asarray(smooth) / max(float(np.max(weights)), 1e-12), 0, 1)
    if crop:
        top, left = (height - side) // 2, (width - side) // 2
        light = np.pad(light, [(top, height - side - top), (left, width - side - left)])
    shade = DARK + (1 - DARK) * light[:, :, np.newaxis]
    return np.rint(photo * shade).astype(np.uint8)
