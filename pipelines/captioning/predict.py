"""Captions by an export alone: TensorFlow and pictures, no training code."""

import glob
import json
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence

import tensorflow as tf

from pipelines.common.pictures import figures
from pipelines.common.serving import exports
from pipelines.common.serving.search import Search

IMAGES_AT_ONCE = 16
ENDINGS = (".jpg", ".jpeg", ".png")


def predict(model: pathlib.Path, inputs: Sequence[str], search: Search, picture: pathlib.Path | None = None) -> int:
    """Writes one JSON object an image to standard output: image, caption, score (and candidates, with n_best); gives
    the exit status.

    Args:
        model: an export, or a run that has one.
        inputs: image files, folders of them, and patterns; "-" stands for the lines of standard input.
        picture: where to draw the images with their captions.

    What cannot be read, or holds no image, gives an object with `error`, and the exit status 1.
    """
    loaded = exports.load(model, "captioning", {"caption", "score", "candidates"})
    status, drawn = 0, []
    for batch in exports.batches(found_files(exports.read_texts(inputs)), IMAGES_AT_ONCE):
        for answer in describe(loaded, batch, search):
            print(json.dumps(answer, ensure_ascii=False))
            if "error" in answer:
                status = 1
            elif picture:
                drawn.append((answer["image"], answer["caption"], []))
        sys.stdout.flush()
    if drawn:
        count = f"{len(drawn)} images" if len(drawn) > 1 else "1 image"
        figures.contact_sheet({"": drawn}, picture, title=f"{count}, described")
    return status


def found_files(inputs: Iterable[str | bytes]) -> Iterator[tuple[str, str | None]]:
    """(image file, None), or (what was given, why it gives no image), as the end of a sentence."""
    for given in inputs:
        if isinstance(given, bytes):
            yield given.decode(errors="replace"), exports.fault(given)
            continue
        path = pathlib.Path(given)
        if path.is_dir():
            files = sorted(each for each in path.iterdir() if each.suffix.lower() in ENDINGS)
            wrong = f"holds no image: expected files that end in {', '.join(ENDINGS)}"
        elif path.exists() or not glob.has_magic(given):
            files, wrong = [path], ""
        else:
            files = sorted(pathlib.Path(each) for each in glob.glob(given, recursive=True))
            files = [each for each in files if each.is_file()]
            wrong = "matches no file"
        yield from ((str(each), None) for each in files)
        if not files:
            yield given, wrong


def describe(loaded, batch: list[tuple[str, str | None]], search: Search) -> Iterator[dict]:
    """An object for each of the images, in their order."""
    contents = {name: read(name) for name, wrong in batch if wrong is None}
    good = [name for name, content in contents.items() if isinstance(content, bytes)]
    answers = dict(zip(good, captions(loaded, [contents[name] for name in good], search), strict=True))
    for name, wrong in batch:
        wrong = wrong or (contents[name] if isinstance(contents[name], str) else None)
        if wrong is None and answers[name] is None:
            limit = int(loaded.signatures["defaults"]()["pixel_limit"])
            wrong = f"is no JPEG or PNG image, is damaged, or has more than {limit:,} pixels"
        yield {"image": name, "error": wrong} if wrong else {"image": name, **answers[name]}


def read(name: str) -> bytes | str:
    """The content of a file, or why there is none."""
    try:
        return pathlib.Path(name).read_bytes()
    except OSError as error:
        return f"could not be read: {error.strerror or error}"


def captions(loaded, contents: list[bytes], search: Search) -> list[dict | None]:
    """What is said of each image; None where the bytes are none."""
    if not contents:
        return []
    found = exports.decode(search, loaded, image=tf.constant(contents))
    answers = []
    for caption, score, candidates in zip(*(found[name].numpy() for name in ("caption", "score", "candidates")),
                                          strict=True):  # fmt: skip
        answer = {"caption": caption.decode(), "score": round(float(score), 6)}
        if search.n_best > 1:
            answer["candidates"] = [candidate.decode() for candidate in candidates[: search.n_best]]
        answers.append(answer if score > float("-inf") else None)
    return answers
