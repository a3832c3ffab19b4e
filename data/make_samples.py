"""Renders the embedded sample data, from fixed seeds: the same files on every run, on every supported Python.

    python data/make_samples.py [--to FOLDER] [PART ...]

Each part writes one folder of data/samples. Its module describes the contents, and the combinations that only the test
part has:

    sentiment    reviews.py      short film reviews, whose label no single word determines
    captioning   scenes.py       pictures of coloured shapes, with all their captions
    translation  sentences.py    English sentences about the same shapes, with their French translations
    video        clips.py        clips of one shape that moves, grows, turns or rests, with a label for each frame

world.py has what the last three have in common. Nothing in the project imports this file.

The bytes are the same each time, except for those of the .mp4 files, which depend on the x264 in the installed PyAV.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import clips
import reviews
import scenes
import sentences

PARTS: dict[str, Callable[[Path], None]] = {
    "sentiment": reviews.render,
    "captioning": scenes.render,
    "translation": sentences.render,
    "video": clips.render,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Render the embedded sample data.")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=f"of: {', '.join(PARTS)} (all)")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "samples", help="folder (data/samples)")
    arguments = parser.parse_args()
    for part in arguments.parts or PARTS:
        PARTS[part](arguments.to / part)
        print(f"{part}: written to {arguments.to / part}")


if __name__ == "__main__":
    main()
