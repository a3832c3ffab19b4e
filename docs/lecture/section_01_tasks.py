"""1. Tasks: one to many, many to one, many to many, synchronised many to many; an example of each from the sample."""

import dataclasses

import lecture
import numpy as np
from matplotlib.patches import FancyArrowPatch, Rectangle
from PIL import Image

from layers.text import normalize, split_words
from pipelines.captioning.dataset import load as load_captions
from pipelines.captioning.presets import PRESETS as CAPTIONING
from pipelines.common.pictures.drawing import INK, PALETTE, pale, picture
from pipelines.common.vision.videos import Video
from pipelines.sentiment.dataset import load as load_reviews
from pipelines.sentiment.presets import PRESETS as SENTIMENT
from pipelines.translation.dataset import load_part as load_pairs
from pipelines.translation.presets import PRESETS as TRANSLATION
from pipelines.video.dataset import load as load_videos
from pipelines.video.presets import PRESETS as VIDEO

FIGURES = ("01_tasks.png",)
QUOTES = (
    "| an image | {captions_least:.0f} to {captions_most:.0f} words | {captions:,.0f} |",
    "| {reviews_least:.0f} to {reviews_most:.0f} words | a label | {reviews:,.0f} |",
    "| {sources_least:.0f} to {sources_most:.0f} words | {targets_least:.0f} to"
    " {targets_most:.0f} words | {sources:,.0f} |",
    "| {videos_least:.0f} to {videos_most:.0f} frames | a label for each | {videos:,.0f} |",
)
IMAGE, CAPTION = "3802.png", "three small white triangles in a row"
REVIEW = "Nobody called the film charming."
SOURCE = "The circle is white."
CLIP, STEPS = "clips/206.mp4", 10  # of the frames of this clip, as many are drawn


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A task with one example. A column is a step: its input, if any, and its output, if any; the text of an input is
    None for what the network predicted itself at the step before."""

    title: str
    inputs: list
    outputs: list


# The data -------------------------------------------------------------------------------------------------------------


def words(texts: list[str]) -> list[list[str]]:
    """Returns the words of each text, as the pipelines split them."""
    return [[word.decode() for word in row] for row in split_words(normalize(texts, lower_case=False)[0]).to_list()]


def frame_labels(video) -> tuple[list[np.ndarray], list[str]]:
    """Returns the frames of a video and the label of each."""
    (clip,) = video.clips
    file = Video(clip.source)
    frames = list(file)
    times = np.arange(len(frames)) / float(file.rate) + 1e-6
    labels = [next((s.label for s in clip.segments if s.start <= t < s.end), clip.segments[-1].label) for t in times]
    return frames, labels


def read() -> tuple[list[Drawn], dict]:
    """Returns the examples, and the number and lengths of the training sequences."""
    captions = load_captions(CAPTIONING["sample"][1].data)
    reviews = load_reviews(SENTIMENT["sample"][1].data)
    pairs = {part: load_pairs(TRANSLATION["sample"][1].data, part) for part in ("train", "test")}
    videos = load_videos(VIDEO["sample"][1].data)
    lengths = {
        "captions": [len(each) for each in words(captions["train"].captions)],
        "reviews": [len(each) for each in words(list(reviews["train"].texts))],
        "sources": [len(each) for each in words(pairs["train"].sources)],
        "targets": [len(each) for each in words(pairs["train"].targets)],
        "videos": [Video(video.clips[0].source).expected for video in videos["train"]],
    }
    numbers = {}
    for name, values in lengths.items():
        numbers |= {name: len(values), f"{name}_least": min(values), f"{name}_most": max(values)}

    assert CAPTION in captions["test"].references[IMAGE]
    labels, codes = reviews["test"].coded_labels()
    label = labels[codes[reviews["test"].texts.index(REVIEW)]]
    target = pairs["test"].targets[pairs["test"].sources.index(SOURCE)]
    frames, labels = frame_labels(next(video for video in videos["test"] if video.name == CLIP))
    shown = np.linspace(0, len(frames) - 1, STEPS).astype(int)
    with Image.open(captions["test"].paths[IMAGE]) as image:
        pixels = np.asarray(image.convert("RGB"))
    (caption,), (review,), (source,), (target,) = words([CAPTION]), words([REVIEW]), words([SOURCE]), words([target])
    own = [None] * len(target)
    examples = [
        Drawn("one to many: captioning", [pixels] + [None] * len(caption), [*caption, "end"]),
        Drawn("many to one: sentiment", review, [""] * (len(review) - 1) + [label]),
        Drawn("many to many: translation", [*source, "start", *own], [""] * len(source) + [*target, "end"]),
        Drawn("synchronised many to many: video", [frames[n] for n in shown], [labels[n] for n in shown]),
    ]
    return examples, numbers


# The figure -----------------------------------------------------------------------------------------------------------

COLUMN, BOX, ROW, LEFT = 1.0, 0.82, 2.45, 0.95  # inches: from step to step, width of a box, height of a task, margin
BOTTOM, MIDDLE, TOP = 0.18, 0.95, 1.62  # of the boxes above the foot of a task
COLOURS = {"input": pale(PALETTE[4]), "state": pale("#888888", 0.3), "output": pale(PALETTE[1])}


def draw(examples: list[Drawn], png):
    width = LEFT + COLUMN * max(len(each.inputs) for each in examples) + 0.1
    height = ROW * len(examples)
    with picture(png, width, height) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(0, height))
        axes.axis("off")
        for row, example in enumerate(examples):
            draw_task(axes, example, height - ROW * (row + 1))


def draw_task(axes, example: Drawn, foot: float):
    axes.text(0.1, foot + TOP + 0.6, example.title, fontsize=11.5, fontweight="bold", va="center")
    for name, place in (("inputs", BOTTOM), ("hidden state", MIDDLE), ("outputs", TOP)):
        axes.text(0.1, foot + place + 0.2, name, fontsize=8.5, va="center")
    for step, (given, answer) in enumerate(zip(example.inputs, example.outputs, strict=True)):
        x = LEFT + step * COLUMN
        box(axes, x, foot + MIDDLE, f"h({step + 1})", "state")
        if step:
            arrow(axes, (x - COLUMN + BOX, foot + MIDDLE + 0.2), (x, foot + MIDDLE + 0.2))
        if given is None:  # the network reads its own last output
            start, end = (x - COLUMN + BOX, foot + TOP + 0.1), (x + BOX / 2, foot + MIDDLE + 0.42)
            arrow(axes, start, end, linestyle="--", connectionstyle="arc3,rad=-0.25")
        elif isinstance(given, str):
            box(axes, x, foot + BOTTOM, given, "input")
            arrow(axes, (x + BOX / 2, foot + BOTTOM + 0.42), (x + BOX / 2, foot + MIDDLE - 0.02))
        else:
            upper, width = foot + BOTTOM + 0.55, 0.62 * given.shape[1] / given.shape[0]
            left = x + (BOX - width) / 2
            axes.imshow(given, extent=(left, left + width, upper - 0.62, upper), aspect="auto", zorder=2)
            arrow(axes, (x + BOX / 2, upper + 0.02), (x + BOX / 2, foot + MIDDLE - 0.02))
        if answer:
            box(axes, x, foot + TOP, answer, "output")
            arrow(axes, (x + BOX / 2, foot + MIDDLE + 0.42), (x + BOX / 2, foot + TOP - 0.02))


def box(axes, x: float, y: float, text: str, kind: str):
    axes.add_patch(Rectangle((x, y), BOX, 0.4, facecolor=COLOURS[kind], edgecolor=INK, linewidth=0.9))
    axes.text(x + BOX / 2, y + 0.2, text, ha="center", va="center", fontsize=8.5 if len(text) > 8 else 9.5)


def arrow(axes, start, end, **style):
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=INK, linewidth=0.9, **style))


def run(folder, short=False) -> dict:
    examples, numbers = read()
    draw(examples, folder / FIGURES[0])
    return numbers


if __name__ == "__main__":
    lecture.main(__file__)
