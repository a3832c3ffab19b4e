"""Renders the sample of the captioning task: small pictures of one to three things, each with all its captions.

A scene is of one of three kinds. Its captions are all sentences that the grammar has for it, so a generated caption is
right if and only if it equals one of them:

    alone    a small red circle on the left              on the left there is a small red circle
    beside   a small red circle above a large blue star  a small red circle with a large blue star below it
    row      three small red stars in a row              a row of three small red stars

Of two things the left or the upper one is named first.

The test part measures generalisation: the training part never has the two things of a test picture together, in any
relation, but it has each of them with others. It never has a single thing in the place that the thing has in a test
picture, nor a row of it with the same number and direction.
"""

from dataclasses import dataclass
from pathlib import Path

from files import write_lines
from PIL import Image, ImageDraw
from world import COLOURS, GROUND, REACH, THINGS, Dice, Thing, draw

SPLITS = {"train": 3600, "val": 200, "test": 200}  # pictures
SHARES = {"alone": 5, "beside": 11, "row": 4}  # of twenty pictures

SIDE = 64  # pixels
RADII = {"small": (6, 7), "large": (10.3, 11)}
PLACES = {"on the left": (-1, 0), "on the right": (1, 0), "at the top": (0, -1), "at the bottom": (0, 1)}
PLACES |= {"in the middle": (0, 0)}
# Of two things in a line: (the relation of the first to the second, the place of the second).
RELATIONS = {"horizontal": ("to the left of", "to its right"), "vertical": ("above", "below it")}
LINES = {"horizontal": "row", "vertical": "column"}
NUMBERS = {2: "two", 3: "three"}


@dataclass(frozen=True)
class Part:
    """A thing in a picture; lengths in pixels."""

    thing: Thing
    size: str
    radius: float
    x: float
    y: float

    @property
    def phrase(self) -> str:
        return f"{self.size} {self.thing.colour} {self.thing.shape}"


def split_of(key: int) -> str:
    """Returns the split of a combination: of twelve ten train, one validates, one tests."""
    return {0: "test", 1: "val"}.get(key % 12, "train")


class Painter:
    """Makes the scenes of one split, from the combinations that belong to it."""

    def __init__(self, split: str, dice: Dice):
        self.split = split
        self.dice = dice

    def owned(self, items, key):
        """Returns one of the items that belong to this split, by the number that `key` returns for them."""
        return self.dice.pick([item for item in items if split_of(key(item)) == self.split])

    def thing_in(self, frames: list):
        """Returns a thing and one of the frames (a place, or a number and direction) as a pair of this split."""
        pairs = [(thing, frame) for thing in THINGS for frame in frames]
        return self.owned(pairs, lambda pair: pair[0].number + frames.index(pair[1]))

    def size(self) -> tuple[str, float]:
        size = self.dice.pick(list(RADII))
        return size, self.dice.number(*RADII[size])

    def near(self, middle: float, distance: float) -> float:
        return middle + self.dice.number(-distance, distance)

    def scene(self) -> tuple[list[Part], list[str]]:
        """Returns the parts of a scene in the order of drawing, and all its captions."""
        kinds = {"alone": self.alone, "beside": self.beside, "row": self.row}
        return kinds[self.dice.pick([kind for kind, share in SHARES.items() for _ in range(share)])]()

    def alone(self) -> tuple[list[Part], list[str]]:
        size, radius = self.size()
        thing, place = self.thing_in(list(PLACES))
        right, down = PLACES[place]
        far = SIDE / 2 - REACH * radius - 5
        part = Part(thing, size, radius, self.near(SIDE / 2 + right * far, 3), self.near(SIDE / 2 + down * far, 3))
        return [part], [f"a {part.phrase} {place}", f"{place} there is a {part.phrase}"]

    def beside(self) -> tuple[list[Part], list[str]]:
        # The split of a pair of things does not depend on their order.
        pairs = [(one, other) for one in THINGS for other in THINGS if one != other]
        one, other = self.owned(pairs, lambda pair: pair[0].number + pair[1].number)
        direction = self.dice.pick(list(RELATIONS))
        (size, radius), (other_size, other_radius) = self.size(), self.size()
        # Along the line: a gap of at least 5 pixels in the middle, so that each thing is in its own half.
        gap = self.dice.number(5, min(SIDE - 4 - 4 * REACH * max(radius, other_radius), 12))
        place = SIDE / 2 - gap / 2 - REACH * radius
        other_place = SIDE / 2 + gap / 2 + REACH * other_radius
        across = self.near(SIDE / 2, 5)
        spots = [(place, self.near(across, 2)), (other_place, self.near(across, 2))]
        if direction == "vertical":
            spots = [spot[::-1] for spot in spots]
        a, b = Part(one, size, radius, *spots[0]), Part(other, other_size, other_radius, *spots[1])
        is_before, its_after = RELATIONS[direction]
        return [a, b], [f"a {a.phrase} {is_before} a {b.phrase}", f"a {a.phrase} with a {b.phrase} {its_after}"]

    def row(self) -> tuple[list[Part], list[str]]:
        thing, (number, direction) = self.thing_in([(number, direction) for number in NUMBERS for direction in LINES])
        size, radius = ("small", self.dice.number(*RADII["small"])) if number == 3 else self.size()
        free = SIDE - 3 - 2 * REACH * radius * number
        gap = self.dice.number(3, min(8, free / (number - 1)))
        start = 1 + REACH * radius + self.dice.number(0, free - gap * (number - 1))
        across = self.near(SIDE / 2, 15)
        spots = [(start + (2 * REACH * radius + gap) * index, across) for index in range(number)]
        parts = [Part(thing, size, radius, *(spot if direction == "horizontal" else spot[::-1])) for spot in spots]
        phrase = f"{NUMBERS[number]} {parts[0].phrase}{'es' if thing.shape == 'cross' else 's'}"
        return parts, [f"{phrase} in a {LINES[direction]}", f"a {LINES[direction]} of {phrase}"]


def save(parts: list[Part], path: Path, dice: Dice) -> None:
    """Draws a scene and writes a PNG of four colours, whose shades vary a little from picture to picture."""
    image = Image.new("P", (SIDE, SIDE), 0)
    canvas = ImageDraw.Draw(image)
    colours = list(dict.fromkeys(part.thing.colour for part in parts))
    for part in parts:
        draw(canvas, part.thing.shape, part.x, part.y, part.radius, 1 + colours.index(part.thing.colour))
    shades = [tone + dice.integer(-10, 10) for colour in (GROUND, *map(COLOURS.get, colours)) for tone in colour]
    image.putpalette([min(shade, 255) for shade in shades])
    # With run-length coding (3, Z_RLE), zlib and zlib-ng write the same bytes.
    image.save(path, "PNG", bits=2, compress_type=3, compress_level=9)


def render(folder: Path) -> None:
    """Writes images/NNNN.png and captions_{train,val,test}.tsv: image, number of the caption from 0, caption."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    count = 0
    for seed, (split, pictures) in enumerate(SPLITS.items()):
        dice = Dice(100 + seed)
        painter, lines = Painter(split, dice), []
        for _ in range(pictures):
            parts, captions = painter.scene()
            count += 1
            name = f"{count:04d}.png"
            save(parts, folder / "images" / name, dice)
            lines += [f"{name}\t{number}\t{caption}" for number, caption in enumerate(captions)]
        write_lines(folder / f"captions_{split}.tsv", lines)
