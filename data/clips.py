"""Renders the sample of the video task: clips of one thing that rests, moves, grows, shrinks or turns.

Each frame has a label, the change from the frame before, so a single frame does not determine it. The first frame of a
clip has the label of the second. A clip has two to four segments of different labels.

The test part measures generalisation: five things (one of each colour and of each shape) have three of the labels in
the training part and the others in the test part, and five more have the others in the validation part. Fifteen things
are only in the training part, with all labels.
"""

from dataclasses import dataclass
from pathlib import Path

import av
from files import write_lines
from PIL import Image, ImageDraw
from world import COLOURS, GROUND, REACH, SHAPES, THINGS, Dice, Thing, draw

SPLITS = {"train": 175, "val": 30, "test": 40}  # clips
LABELS = ("still", "left", "right", "grow", "shrink", "turn")
FPS = 10
WIDTH, HEIGHT = 64, 48  # pixels
SEGMENT = (6, 14)  # frames
CLIP = (20, 40)  # frames
RADII = (5, 16)
# The change from one frame to the next.
SPEEDS = (1.8, 2.6)  # pixels
GROWTHS = (0.8, 1.1)  # pixels of the radius
TURNS = (10, 14)  # degrees
SMOOTH = 4  # drawn this many times larger, then averaged, so that positions between pixels are visible


@dataclass(frozen=True)
class Pose:
    x: float
    y: float
    radius: float
    turn: float = 0

    def after(self, step: "Pose") -> "Pose":
        return Pose(self.x + step.x, self.y + step.y, self.radius + step.radius, self.turn + step.turn)

    def inside(self) -> bool:
        reach = REACH * self.radius
        fits = reach <= self.x <= WIDTH - reach and reach <= self.y <= HEIGHT - reach
        return fits and RADII[0] <= self.radius <= RADII[1]


@dataclass(frozen=True)
class Segment:
    label: str
    frames: int


def labels_of(thing: Thing, split: str) -> list[str]:
    """Returns the labels that a thing may have in a split, possibly none; the turning of a circle is not visible."""
    seen = [label for label in LABELS if (thing.shape, label) != ("circle", "turn")]
    column = SHAPES.index(thing.shape)
    owner = {0: "test", 1: "val"}.get((list(COLOURS).index(thing.colour) + column) % len(SHAPES), "train")
    if owner == "train":
        return seen if split == "train" else []
    first = column if owner == "test" else column + 3
    held_out = {LABELS[(first + step) % len(LABELS)] for step in range(3)}
    if split == "train":
        return [label for label in seen if label not in held_out]
    return [label for label in seen if label in held_out] if split == owner else []


def plan(labels: list[str], dice: Dice) -> tuple[list[Segment], list[Pose]]:
    """Returns the segments of a clip and a pose for each of its frames."""
    while True:
        sequence: list[str] = []
        for _ in range(dice.integer(2, 4)):
            sequence.append(dice.pick([label for label in labels if label not in sequence[-1:]]))
        # Many attempts for one sequence, so that labels that need much space do not become rare.
        for _ in range(100):
            segments = [Segment(label, dice.integer(*SEGMENT)) for label in sequence]
            if CLIP[0] <= sum(segment.frames for segment in segments) <= CLIP[1]:
                poses = perform(segments, dice)
                if all(pose.inside() for pose in poses):
                    return segments, poses


def perform(segments: list[Segment], dice: Dice) -> list[Pose]:
    """Returns a pose for each frame, from a random first one; the thing may leave the picture."""
    poses = [Pose(dice.number(0, WIDTH), dice.number(0, HEIGHT), dice.number(*RADII), dice.number(0, 360))]
    for segment in segments:
        step = movement(segment.label, dice)  # one speed for the whole segment
        for _ in range(segment.frames - (len(poses) == 1)):
            poses.append(poses[-1].after(step))
    return poses


def movement(label: str, dice: Dice) -> Pose:
    """Returns the change from each frame of a segment to the next."""
    speed, growth, turn = dice.number(*SPEEDS), dice.number(*GROWTHS), dice.number(*TURNS)
    return {
        "still": Pose(0, 0, 0),
        "left": Pose(-speed, 0, 0),
        "right": Pose(speed, 0, 0),
        "grow": Pose(0, 0, growth),
        "shrink": Pose(0, 0, -growth),
        "turn": Pose(0, 0, 0, dice.pick([-turn, turn])),
    }[label]


def picture(thing: Thing, pose: Pose) -> Image.Image:
    image = Image.new("RGB", (WIDTH * SMOOTH, HEIGHT * SMOOTH), GROUND)
    x, y, radius = (SMOOTH * length for length in (pose.x, pose.y, pose.radius))
    draw(ImageDraw.Draw(image), thing.shape, x, y, radius, COLOURS[thing.colour], pose.turn)
    return image.reduce(SMOOTH)


def encode(pictures: list[Image.Image], path: Path) -> None:
    """Writes an H.264 .mp4 file. Frame t is at exactly t / FPS, as no frame refers to a later one (bf 0)."""
    with av.open(str(path), "w", options={"fflags": "bitexact"}) as file:  # without the version of FFmpeg
        stream = file.add_stream("libx264", rate=FPS, options={"crf": "24", "preset": "medium", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1  # with more, the bytes depend on the machine
        for image in pictures:
            file.mux(stream.encode(av.VideoFrame.from_image(image)))
        file.mux(stream.encode())


def render(folder: Path) -> None:
    """Writes clips/NNN.mp4 and segments.csv: file, start and end in seconds (end exclusive), label, split, group.

    The group is the thing with the labels that it may have in this split, so no group is in two splits.
    """
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    lines = ["file,start,end,label,split,group"]
    count = 0
    for seed, (split, clips) in enumerate(SPLITS.items()):
        dice = Dice(300 + seed)
        things = [thing for thing in THINGS if labels_of(thing, split)]
        for number in range(clips):
            thing = things[number % len(things)]
            labels = labels_of(thing, split)
            segments, poses = plan(labels, dice)
            count += 1
            name = f"clips/{count:03d}.mp4"
            encode([picture(thing, pose) for pose in poses], folder / name)
            start = 0
            for segment in segments:
                end = start + segment.frames
                group = f"{thing.colour} {thing.shape}/{'+'.join(labels)}"
                lines.append(f"{name},{start / FPS},{end / FPS},{segment.label},{split},{group}")
                start = end
    write_lines(folder / "segments.csv", lines)
