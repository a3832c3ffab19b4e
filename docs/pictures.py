"""Makes docs/pictures/*.png, the pictures of the READMEs, from the runs of `make demo` and the released models.

    .venv/bin/python docs/pictures.py [RUNS]

RUNS is saved_models by default. Each picture is drawn by `predict --picture` of its task, unless its run is not there.
Titles, legends and white margins are then cut off, so that the text stays readable at the width of a README.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[1]
MARGIN = 8  # pixels
WIDTH = 1420  # pixels, of a picture as it is drawn
WIDTHS = {"attention": 1000}  # photos take more bytes than drawings

INPUTS = {  # by the name of the picture: the run, and the inputs of predict
    "captioning": (
        "captioning/sample",
        [f"data/samples/captioning/images/{number}.png" for number in (3805, 3812, 3802, 3841)],
    ),
    "sentiment": ("sentiment/sample", ["The plot is weak, but the ending is not bad."]),
    "translation": ("translation/sample", ["Below the yellow squares there is a small blue circle."]),
    "alignment": ("translation/multi30k-de-en", ["Zwei kleine Hunde spielen am Strand mit einem roten Ball."]),
    "attention": ("captioning/flickr8k", ["data/samples/photos/photographer.jpg"]),
    "video": ("video/sample", ["data/samples/video/clips/240.mp4"]),
}
# The rows of pixels to keep, first and last, from top to bottom. pipelines/common/pictures/ lays them out.
ROWS = {
    "captioning": [(104, 430)],  # images and captions, without the title
    "sentiment": [(110, 512)],  # words, probability and gates
    "translation": [(12, 48), (110, 255)],  # the source; the translation and its probabilities
    "alignment": [(12, 48), (137, 515)],  # the source; the translation, its probabilities and the alignment
    "attention": [(76, 552)],  # the caption, and the image for each word, without the title
    "video": [(32, 200)],  # frames, labels and the time axis
}


def cut(picture: Image.Image, rows: list[tuple[int, int]], width: int = WIDTH) -> Image.Image:
    """Returns the given rows, one below the other, without white margins, at most `width` wide, in 128 colours."""
    kept = Image.new("RGB", (picture.width, sum(last - first for first, last in rows)), "white")
    top = 0
    for first, last in rows:
        kept.paste(picture.crop((0, first, picture.width, last)), (0, top))
        top += last - first
    kept = kept.crop(ImageOps.invert(kept.convert("L")).getbbox())
    kept.thumbnail((width, kept.height), Image.Resampling.LANCZOS)
    return ImageOps.expand(kept, MARGIN, "white").quantize(128)


def main(runs: Path) -> None:
    folder = ROOT / "docs" / "pictures"
    folder.mkdir(exist_ok=True)
    for name, (run, inputs) in INPUTS.items():
        if not (runs / run).is_dir():
            print(f"{name}: there is no run {runs / run}")
            continue
        task = run.partition("/")[0]
        with tempfile.TemporaryDirectory() as scratch:
            drawn = Path(scratch) / "drawn.png"
            command = [sys.executable, "-m", f"pipelines.{task}", "predict", "--model", str(runs / run)]
            subprocess.run([*command, "--picture", str(drawn), *inputs], cwd=ROOT, check=True)
            with Image.open(drawn) as picture:
                cut(picture.convert("RGB"), ROWS[name], WIDTHS.get(name, WIDTH)).save(
                    folder / f"{name}.png", optimize=True
                )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "saved_models").absolute())
