"""Checks the captions of the captioning sample against the pixels, with a second grammar."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

PICTURES = {"train": 3600, "val": 200, "test": 200}
COLOURS = {
    "red": (225, 60, 55), "green": (50, 175, 80), "blue": (65, 120, 235), "yellow": (245, 205, 50),
    "white": (240, 240, 235), "": (40, 40, 50),
}  # fmt: skip
PHRASE = r"(small|large) (red|green|blue|yellow|white) (circle|square|triangle|star|cross)"


@pytest.fixture(scope="module")
def captions(samples):
    """Returns {part: {image: captions}}."""
    splits = {}
    for split in PICTURES:
        splits[split] = defaultdict(list)
        for line in (samples / "captioning" / f"captions_{split}.tsv").read_text("utf-8").splitlines():
            image, number, caption = line.split("\t")
            assert int(number) == len(splits[split][image])
            splits[split][image].append(caption)
    return splits


@dataclass(frozen=True)
class Seen:
    """A shape found in the pixels: its centre and its edges."""

    size: str
    colour: str
    shape: str
    left: int
    top: int
    right: int
    bottom: int

    @property
    def middle(self):
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    @property
    def words(self):
        return f"{self.size} {self.colour} {self.shape}"


def look(path):
    """Returns the shapes of an image: connected pixels of one colour, named by colour, size and outline."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert pixels.shape == (64, 64, 3)
    distances = np.stack([np.abs(pixels - colour).sum(-1) for colour in COLOURS.values()])
    assert distances.min(0).max() < 60
    names = np.array(list(COLOURS))[distances.argmin(0)]
    things = []
    for colour in set(names.flat) - {""}:
        todo = set(zip(*np.nonzero(names == colour), strict=True))
        while todo:
            patch = edge = {todo.pop()}
            while edge:
                edge = {(y + dy, x + dx) for y, x in edge for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & todo
                todo -= edge
                patch = patch | edge
            things.append(named(patch, str(colour)))
    return things


def named(patch, colour):
    ys, xs = np.array(sorted(patch)).T
    top, bottom, left, right = ys.min(), ys.max(), xs.min(), xs.max()
    assert top > 0 and left > 0 and bottom < 63 and right < 63, "nothing is cut off"
    corners = [
        any((y + dy, x + dx) in patch for dy in (-1, 0, 1) for dx in (-1, 0, 1))
        for y in (top, bottom)
        for x in (left, right)
    ]
    widths = [np.count_nonzero(ys == y) for y in range(top, bottom + 1)]
    share = sum(widths) / len(widths) / (right - left + 1)
    if all(corners):
        shape = "square"
    elif corners == [False, False, True, True]:
        shape = "triangle"
    else:
        assert not any(corners)
        shape = "cross" if len(set(widths)) == 2 else "circle" if share > 0.7 else "star"
    return Seen("large" if right - left > 16 else "small", colour, shape, left, top, right, bottom)


def descriptions(things):
    """Returns all sentences of the grammar that are true of the shapes."""
    words = [thing.words for thing in things]
    if len(things) == 1:
        right, down = (middle - 31.5 for middle in things[0].middle)
        if max(abs(right), abs(down)) < 7:
            place = "in the middle"
        elif abs(right) > abs(down):
            place = "on the right" if right > 0 else "on the left"
        else:
            place = "at the bottom" if down > 0 else "at the top"
        return {f"a {words[0]} {place}", f"{place} there is a {words[0]}"}
    spread = np.ptp([thing.middle for thing in things], axis=0)
    flat = spread[0] > spread[1]
    assert min(spread) < 8 < max(spread), "in one line"
    things = sorted(things, key=lambda thing: thing.middle[0 if flat else 1])
    if len(set(words)) == 1:
        line, many = "row" if flat else "column", {2: "two", 3: "three"}[len(things)]
        plural = words[0] + ("es" if words[0].endswith("cross") else "s")
        return {f"{many} {plural} in a {line}", f"a {line} of {many} {plural}"}
    assert len(things) == 2
    one, two = (thing.words for thing in things)
    if flat:
        return {f"a {one} to the left of a {two}", f"a {one} with a {two} to its right"}
    return {f"a {one} above a {two}", f"a {one} with a {two} below it"}


@pytest.mark.parametrize("split, step", [("test", 1), ("val", 4), ("train", 8)])
def test_the_captions_are_the_sentences_of_the_grammar(captions, samples, split, step):
    for image, listed in list(captions[split].items())[::step]:
        assert set(listed) == descriptions(look(samples / "captioning" / "images" / image)), image
        assert len(set(listed)) == len(listed)


def test_sizes_and_every_image_in_one_part(captions, samples):
    assert {split: len(images) for split, images in captions.items()} == PICTURES
    named = [image for images in captions.values() for image in images]
    assert len(named) == len(set(named))
    assert {path.name for path in (samples / "captioning" / "images").iterdir()} == set(named)


def combinations_of(images):
    """Returns the combination in each image: two shapes, shape and place, or shape, number and direction."""
    met = set()
    for listed in images.values():
        things = re.findall(PHRASE, listed[0])
        assert len(things) in (1, 2)
        if len(things) == 2:
            met.add(frozenset((colour, shape) for _, colour, shape in things))
        else:
            frame = re.sub(PHRASE + "(es|s)?", "_", listed[0])
            met.add((things[0][1:], frame))
    return met


def test_the_combinations_of_test_images_are_not_in_training(captions):
    met = {split: combinations_of(images) for split, images in captions.items()}
    for one, other in combinations(met.values(), 2):
        assert not one & other
    # Yet each part was seen: every thing with many others, every thing in other frames, every frame with other things.
    trained = [pair for pair in met["train"] if isinstance(pair, frozenset)]
    partners = Counter(thing for pair in trained for thing in pair)
    assert {thing for pair in met["test"] if isinstance(pair, frozenset) for thing in pair} <= partners.keys()
    assert len(partners) == 25 and min(partners.values()) >= 10
    frames = {split: [pair for pair in met[split] if isinstance(pair, tuple)] for split in met}
    for part in (0, 1):
        assert {pair[part] for pair in frames["test"]} <= {pair[part] for pair in frames["train"]}
    assert len({frame for _, frame in frames["test"]}) == 5 + 4  # places, and two or three in a row or a column


def test_training_has_every_word_and_every_shape_in_both_sizes(captions):
    words = {split: {w for listed in captions[split].values() for c in listed for w in c.split()} for split in captions}
    assert words["test"] | words["val"] <= words["train"]
    assert len({thing for listed in captions["train"].values() for thing in re.findall(PHRASE, listed[0])}) == 50
