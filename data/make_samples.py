"""Renders the embedded sample data, from fixed seeds: the same files on every run, on every supported Python.

    python data/make_samples.py [--to FOLDER] [PART ...]

Each part writes one folder of data/samples, and its module tells what is in it, and which combinations the test split
holds that training never shows:

    sentiment    reviews.py      short film reviews, in which structure decides and no word
    captioning   scenes.py       pictures of coloured shapes on a plane, with all their true descriptions
    translation  sentences.py    English sentences about the same shapes, with their French translations
    video        clips.py        clips in which one of the shapes moves, grows, turns or rests, with a label a frame

world.py holds what the last three have in common. Run this file, never import it: nothing of the project depends on it.

The bytes are the same each time, but for video: those of the .mp4 files depend on the x264 inside the installed PyAV.
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
