"""The objects of the samples: five colours and five shapes on a dark background, and how to draw them."""

import math
import random
from dataclasses import dataclass

from PIL import ImageDraw

GROUND = (38, 42, 51)
COLOURS = {
    "red": (226, 62, 54),
    "green": (52, 176, 82),
    "blue": (66, 118, 236),
    "yellow": (244, 204, 50),
    "white": (240, 240, 236),
}
SHAPES = ("circle", "square", "triangle", "star", "cross")


@dataclass(frozen=True)
class Thing:
    colour: str
    shape: str

    @property
    def number(self) -> int:
        return list(COLOURS).index(self.colour) * len(SHAPES) + SHAPES.index(self.shape)


THINGS = [Thing(colour, shape) for colour in COLOURS for shape in SHAPES]


class Dice:
    """Makes seeded choices with the only method whose sequence Python guarantees."""

    def __init__(self, seed: int):
        self.random = random.Random(seed).random

    def pick(self, items):
        return items[int(self.random() * len(items))]

    def integer(self, lowest: int, highest: int) -> int:
        """Returns one of lowest, ..., highest."""
        return lowest + int(self.random() * (highest - lowest + 1))

    def number(self, lowest: float, highest: float) -> float:
        return lowest + self.random() * (highest - lowest)

    def shuffled(self, items) -> list:
        return sorted(items, key=lambda _: self.random())


REACH = 1.2  # the greatest distance of a shape's outline from its centre, in radii


def draw(canvas: ImageDraw.ImageDraw, shape: str, x: float, y: float, radius: float, fill, turn: float = 0) -> None:
    """Draws a shape around (x, y), turned clockwise by `turn` degrees. Shapes of the same radius look equally large."""
    if shape == "circle":
        canvas.ellipse([round(edge) for edge in (x - radius, y - radius, x + radius, y + radius)], fill)
        return
    corners = [
        (round(x + radius * far * math.sin(angle)), round(y - radius * far * math.cos(angle)))
        for far, angle in ((far, math.radians(turn + degrees)) for far, degrees in OUTLINES[shape])
    ]
    canvas.polygon(corners, fill)


def cross(arm: float, width: float) -> list[tuple[float, float]]:
    """Returns the twelve corners of a cross; its arms are `arm` long from the centre and `width` wide to each side."""
    far, half = math.hypot(arm, width), math.degrees(math.atan2(width, arm))
    inner = (math.hypot(width, width), 45)
    tip = [(far, -half), (far, half), inner]
    return [(distance, degrees + quarter) for quarter in (0, 90, 180, 270) for distance, degrees in tip]


# Corners as (distance from the centre in radii, degrees clockwise from the top).
OUTLINES = {
    "square": [(REACH, degrees) for degrees in (45, 135, 225, 315)],
    "triangle": [(REACH, degrees) for degrees in (0, 120, 240)],
    "star": [(REACH if point % 2 == 0 else 0.5, 36 * point) for point in range(10)],
    "cross": cross(1.05, 0.36),
}
