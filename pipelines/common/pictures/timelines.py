"""Pictures of labels in time: coloured bands below a strip of frames, and a label on a frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.patches import Patch, Rectangle
from PIL import Image, ImageDraw, ImageFont

from pipelines.common.pictures.drawing import INK, PALETTE, pale, picture, shorten

MAX_FRAMES = 24  # of a strip
THUMBNAIL = 96  # height in pixels
LETTER = 0.085  # approximate width in inches
HATCHES = ("", "////", "....", "xxxx")  # of the labels that have a colour of the palette for the first, second, … time


@dataclass(frozen=True)
class Timeline:
    """A video with its labels. `bands`: name -> a label for each frame. `strip`: a few pairs (number of the frame,
    uint8[height, width, 3])."""

    title: str
    fps: float
    bands: dict[str, Sequence[str]]
    strip: Sequence[tuple[int, np.ndarray]] = ()


class Strip:
    """Collects thumbnails of at most MAX_FRAMES frames, evenly spaced, of a video of unknown length."""

    def __init__(self):
        self.every, self.count, self.kept = 1, 0, []

    def add(self, frame: np.ndarray):
        """Adds the next frame, uint8[height, width, 3]."""
        if self.count % self.every == 0:
            if len(self.kept) == MAX_FRAMES:
                self.kept, self.every = self.kept[::2], 2 * self.every
            if self.count % self.every == 0:
                self.kept.append((self.count, thumbnail(frame)))
        self.count += 1


def thumbnail(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    return np.asarray(Image.fromarray(frame).resize((max(round(width * THUMBNAIL / height), 1), THUMBNAIL)))


def runs_of(labels: Sequence[str]) -> list[tuple[str, int, int]]:
    """Returns (label, first frame, frame after the last) of each run of equal labels."""
    found, start = [], 0
    for frame in range(1, len(labels) + 1):
        if frame == len(labels) or labels[frame] != labels[start]:
            found.append((labels[start], start, frame))
            start = frame
    return found


def colours_of(names: Sequence[str]) -> dict[str, tuple]:
    """Returns a colour for each label: those of the palette, then paler ones."""
    return {
        name: pale(PALETTE[number % len(PALETTE)], 0.85 / (1 + number // len(PALETTE)))
        for number, name in enumerate(names)
    }


def hatches_of(names: Sequence[str]) -> dict[str, str]:
    """Returns the hatch of each label, which differs for labels whose colours are shades of the same one."""
    return {name: HATCHES[min(number // len(PALETTE), len(HATCHES) - 1)] for number, name in enumerate(names)}


def letters_on(colour) -> str:
    """Returns the colour of letters that can be read on a colour, red, green and blue from 0 to 1."""
    red, green, blue = colour
    return INK if 0.3 * red + 0.59 * green + 0.11 * blue > 0.4 else "white"


def draw_timelines(timelines: Sequence[Timeline], names: Sequence[str], png):
    """Draws each timeline: its strip of frames, and its bands below.

    Args:
        names: All labels; their order determines the colours.
    """
    colours, hatches = colours_of(names), hatches_of(names)
    width, strip, band, gap = 11.0, 0.8, 0.34, 0.75
    rows = [(strip if each.strip else 0) + band * len(each.bands) + gap for each in timelines]
    texts = [shorten(name, 26) for name in names]
    columns = max(int((width - 0.4) / (LETTER * max(map(len, texts), default=0) + 0.6)), 1)
    legend = 0.22 * -(-len(names) // columns) + 0.3
    height = sum(rows) + legend
    with picture(png, width, height) as figure:
        top = height
        for timeline, row in zip(timelines, rows, strict=True):
            frames = max(map(len, timeline.bands.values()), default=0)
            body = row - gap
            axes = figure.add_axes((1.1 / width, (top - 0.3 - body) / height, (width - 1.3) / width, body / height))
            draw_bands(axes, timeline, colours, hatches, band)
            draw_strip(axes, timeline, strip, body, (width - 1.3) / max(frames, 1))
            axes.set(xlim=(0, max(frames, 1) / timeline.fps), ylim=(0, body))  # imshow has changed them
            axes.set_title(shorten(timeline.title, 110), loc="left", fontsize=10)
            axes.tick_params(axis="x", labelsize=8)
            axes.spines[["left", "bottom"]].set_visible(False)
            top -= row
        axes.set_xlabel("seconds", fontsize=8)
        handles = [
            Patch(facecolor=colours[name], hatch=hatches[name], edgecolor="white", label=text)
            for name, text in zip(names, texts, strict=True)
        ]
        figure.legend(handles=handles, loc="lower center", ncols=min(len(names), columns), frameon=False, fontsize=9)


def draw_bands(axes, timeline: Timeline, colours: dict, hatches: dict, band: float):
    ticks = []
    for number, (name, labels) in enumerate(reversed(timeline.bands.items())):
        bottom = number * band
        ticks.append((bottom + band / 2, name))
        inches = axes.get_figure().get_figwidth() * axes.get_position().width / max(len(labels), 1)
        for label, start, end in runs_of(labels):
            x, length = start / timeline.fps, (end - start) / timeline.fps
            style = {"facecolor": colours[label], "hatch": hatches[label], "edgecolor": "white"}
            axes.add_patch(Rectangle((x, bottom + 0.03), length, band - 0.06, **style))
            letters = int(inches * (end - start) / LETTER)
            if letters >= min(len(label), 3) + 1:
                text, ink = shorten(label, letters), letters_on(colours[label])
                axes.text(x + length / 2, bottom + band / 2, text, ha="center", va="center", fontsize=9, color=ink)
    axes.set_yticks([place for place, _ in ticks], [name for _, name in ticks])
    axes.tick_params(axis="y", length=0, labelsize=9)


def draw_strip(axes, timeline: Timeline, strip: float, body: float, frame_width: float):
    """Draws the frames at their times, as many as fit. frame_width: inches."""
    free = 0.0
    for number, pixels in timeline.strip:
        height = strip - 0.08
        width = height * pixels.shape[1] / pixels.shape[0]
        start = number * frame_width
        ends = frame_width * max(map(len, timeline.bands.values()))
        if start < free or (start + width > ends and start):
            continue
        free = start + width + 0.03
        left, right = (x / frame_width / timeline.fps for x in (start, start + width))
        axes.imshow(pixels, extent=(left, right, body - height, body), aspect="auto", clip_on=False)


def write_label(frame: np.ndarray, label: str, names: Sequence[str]) -> np.ndarray:
    """Returns the frame uint8[height, width, 3] with its label in the lower left corner, on the label's colour."""
    image = Image.fromarray(frame)
    size = max(image.height // 12, 8)
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = draw.textbbox((0, 0), label, font=font)
    margin = max(size // 4, 2)
    width, height = right - left + 2 * margin, bottom - top + 2 * margin
    colour = tuple(round(255 * part) for part in colours_of(names).get(label, (1.0, 1.0, 1.0)))
    draw.rectangle((0, image.height - height, width, image.height), fill=colour)
    draw.text((margin - left, image.height - height + margin - top), label, font=font, fill=(0, 0, 0))
    return np.asarray(image)
