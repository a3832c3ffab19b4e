"""Captions images with an export only: TensorFlow and pictures, no training code."""

import glob
import json
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence

import tensorflow as tf

from pipelines.common.files import data_files, is_data
from pipelines.common.pictures.attention_sheet import Attended, draw_attention_sheet
from pipelines.common.pictures.contact_sheet import draw_contact_sheet
from pipelines.common.serving import exports, text_inputs
from pipelines.common.serving.decoding_options import DecodingOptions

BATCH_SIZE = 16
MAX_DRAWN = 40  # images of which a picture shows the attention
ENDINGS = (".jpg", ".jpeg", ".png")
MAX_PATTERN = 4096  # characters, as in the longest path; glob takes a time that is quadratic in the number of brackets


def predict(
    model: pathlib.Path, images: Sequence[str], options: DecodingOptions, picture: pathlib.Path | None = None
) -> int:
    """Writes one JSON object for each image to standard output: image, caption, score (and candidates, with n_best).
    Returns the exit status.

    Args:
        model: An export, or a run that has one.
        images: Image files, folders of them, and patterns; "-" stands for those on standard input, one per line.
        options: How to decode.
        picture: PNG file for the images with their captions; of a model with attention also where it looked for each
            word.

    For an input that cannot be read, or is not an image, the object has an `error`, and the exit status is 1.
    """
    loaded = exports.load(model, "captioning", {"caption", "score", "candidates"})
    status = 0
    drawn: list[dict] = []
    for batch in text_inputs.batches(find_files(text_inputs.read_names(images)), BATCH_SIZE):
        for answer in caption(loaded, batch, options):
            print(json.dumps(answer, ensure_ascii=False))
            if "error" in answer:
                status = 1
            elif picture:
                drawn.append(answer)
        sys.stdout.flush()
    if drawn and picture:
        draw(loaded, drawn, picture)
    return status


def draw(loaded, answers: list[dict], picture: pathlib.Path):
    """Draws images with their captions, and where a model with attention looked for each word."""
    count = f"{len(answers)} images" if len(answers) > 1 else "1 image"
    if "explain" not in loaded.signatures:
        cells: list[tuple[str, str, list[str]]] = [(answer["image"], answer["caption"], []) for answer in answers]
        draw_contact_sheet({"": cells}, picture, title=f"{count} with captions")
        return
    attended = [look(loaded, answer) for answer in answers[:MAX_DRAWN]]
    shown = f", the first {MAX_DRAWN} of them" if len(answers) > MAX_DRAWN else ""
    draw_attention_sheet(attended, picture, title=f"{count} with captions{shown}: where the model looked for each word")


def look(loaded, answer: dict) -> Attended:
    """Returns where the model looked in an image for each word of its caption."""
    outputs = loaded.signatures["explain"](
        image=tf.constant([pathlib.Path(answer["image"]).read_bytes()]), caption=tf.constant([answer["caption"]])
    )
    words = [token.decode().lstrip("▁") for token in outputs["tokens"][0].numpy() if token]
    return Attended(
        file=answer["image"],
        caption=answer["caption"],
        words=words,
        attention=outputs["attention"][0].numpy()[: len(words)],
        crop=bool(loaded.signatures["defaults"]()["crop"]),
    )


def find_files(images: Iterable[tuple[str, str | None]]) -> Iterator[tuple[str, str | None]]:
    """Yields (image file, None) or (input, why there is no image), of the files, folders and patterns of
    `text_inputs.read_names`."""
    for given, error in images:
        if error:
            yield given, error
            continue
        path = pathlib.Path(given)
        if os.path.isdir(given):
            files = [each for each in data_files(path) if each.suffix.lower() in ENDINGS]
            error = f"holds no image: expected files that end in {', '.join(ENDINGS)}"
        elif os.path.exists(given) or not glob.has_magic(given) or len(given) > MAX_PATTERN:
            files = [path]
        else:
            files = sorted(pathlib.Path(each) for each in glob.glob(given, recursive=True))
            matched = [set(each.parts) - set(pathlib.Path(given).parts) for each in files]
            files = [
                each for each, names in zip(files, matched, strict=True) if each.is_file() and all(map(is_data, names))
            ]
            error = "matches no file"
        yield from (text_inputs.checked(os.fsencode(each)) for each in files)
        if not files:
            yield given, error


def caption(loaded, batch: list[tuple[str, str | None]], options: DecodingOptions) -> Iterator[dict]:
    """Yields an object for each item of `find_files`, in their order."""
    contents = {name: read(name) for name, error in batch if error is None}
    encoded = {name: content for name, content in contents.items() if isinstance(content, bytes)}
    captions = {}
    if encoded:
        outputs = exports.decode(loaded, options, image=tf.constant(list(encoded.values())))
        captions = dict(zip(encoded, exports.sentences(outputs, "caption", options), strict=True))
    for name, error in batch:
        content = contents.get(name)
        if isinstance(content, str):
            error = content
        elif error is None and captions[name]["score"] == float("-inf"):
            limit = int(loaded.signatures["defaults"]()["pixel_limit"])
            error = f"is not a JPEG or PNG image, is damaged, or has more than {limit:,} pixels"
        yield {"image": name, "error": error} if error else {"image": name, **captions[name]}


def read(name: str) -> bytes | str:
    """Returns the content of a file, or a string that says why it could not be read."""
    try:
        return pathlib.Path(name).read_bytes()
    except OSError as error:
        return f"could not be read: {error.strerror or error}"
