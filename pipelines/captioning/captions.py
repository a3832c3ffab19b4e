"""Reads images with captions: tables, Flickr8k token files, COCO's JSON, tensorflow-datasets."""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Iterable, Iterator

from pipelines.captioning.config import DataConfig
from pipelines.common.data import sources
from pipelines.common.data.loading import without_autotune
from pipelines.common.data.tables import as_name, read_cells, read_lines
from pipelines.common.errors import UserError
from pipelines.common.files import atomic_write, data_files, parse_json

PARTS = ("train", "validation", "test")
FILE_NAMES = {"train": ("train",), "validation": ("val", "validation", "valid", "dev"), "test": ("test",)}
PACKED = ("", ".gz", ".xz")
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")
LAYOUTS = "captions_train.tsv (.gz, .xz), captions.tsv, *.token.txt or captions_train*.json"
TOKEN = re.compile(r"(.+)#(\d+)")


@dataclasses.dataclass(frozen=True)
class Captioned:
    """Images with their captions, in the order of the data.

    Attributes:
        paths: the name of the image in the captions -> its file, which may be missing.
        references: the name -> its captions, one or more, as they are written.
    """

    paths: dict[str, pathlib.Path]
    references: dict[str, list[str]]

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, names: Iterable[str]) -> "Captioned":
        """Returns the images with these names."""
        names = list(names)
        return Captioned({name: self.paths[name] for name in names}, {name: self.references[name] for name in names})

    @property
    def captions(self) -> list[str]:
        """All captions, those of an image one after the other."""
        return [caption for each in self.references.values() for caption in each]


# Parts and files ----------------------------------------------------------------------------------------------------


def own_parts(where: pathlib.Path | str, data: DataConfig) -> tuple[str, ...]:
    """Returns the parts that the data has; a single file has only "train"."""
    if isinstance(where, str):
        splits = sources.prepare_tfds(where.removeprefix(sources.TFDS), data.manual_dir).info.splits
        return tuple(part for part in PARTS if split_of(part, splits) in splits or not splits)
    if where.is_file():
        return ("train",)
    parts = tuple(part for part in PARTS if files_of(where, part))
    if "train" in parts or "test" in parts:
        return parts
    raise UserError(f"{where} has no captions: expected {LAYOUTS}")


def split_of(part: str, splits) -> str:
    """Returns the name of a part in tensorflow-datasets."""
    names = FILE_NAMES.get(part, (part,))
    return next((name for name in names if name in splits), names[0])


def files_of(folder: pathlib.Path, part: str) -> tuple[pathlib.Path, ...]:
    """Returns (captions file,), (captions file of all parts, list of images of the part), or () without this part."""
    for name in FILE_NAMES.get(part, (part,)):
        tables = [folder / f"captions_{name}.tsv{packed}" for packed in PACKED]
        files = [path for path in tables if path.is_file()]
        files += [
            path for place in (folder, folder / "annotations") for path in data_files(place, f"captions_{name}*.json")
        ]
        if files:
            return (sorted(files)[0],)
    tokens = [path for path in data_files(folder, "*.txt") if "token" in path.name.lower()]
    # Flickr8k also contains Flickr8k.lemma.token.txt, with the same captions in which every word is lemmatized.
    tokens.sort(key=lambda path: ("lemma" in path.name.lower(), path))
    lists = sorted(
        path
        for path in data_files(folder, "*.txt")
        for name in FILE_NAMES.get(part, (part,))
        if name in path.name.lower() and path not in tokens
    )
    if tokens and lists:
        return tokens[0], lists[0]
    whole = [folder / f"captions.tsv{packed}" for packed in PACKED]
    single = [*(path for path in whole if path.is_file()), *tokens]
    return (single[0],) if single and part == "train" else ()


def list_of_validation(where: pathlib.Path) -> list[str]:
    """Returns the images of `dev_all.txt` or `val_all.txt`, in its order; none without such a file."""
    for name in FILE_NAMES["validation"]:
        path = where / f"{name}_all.txt"
        if path.is_file():
            return [line.strip() for line in read_lines(path) if line.strip()]
    return []


def without_captions(captioned: Iterable[Captioned]) -> int:
    """Returns the number of images in the same folders that have no caption."""
    used = {path for each in captioned for path in each.paths.values()}
    folders = {path.parent for path in used}
    return sum(
        path.suffix.lower() in IMAGE_ENDINGS and path not in used
        for folder in folders
        if folder.is_dir()
        for path in data_files(folder)
    )


# Reading ----------------------------------------------------------------------------------------------------------


def read(where: pathlib.Path | str, part: str, data: DataConfig) -> Captioned:
    """Reads one part: "train", "validation", "test", or another NAME if there is a file captions_NAME.

    Raises:
        UserError: There is no such part, or the file has another layout.
    """
    if isinstance(where, str):
        return read_tfds(where, part, data)
    if where.is_file():
        return read_file(where, data.quoting)
    files = files_of(where, part)
    if not files:
        raise UserError(f"{where} has no part {part}: expected captions_{part}.tsv or captions_{part}*.json")
    captioned = read_file(files[0], data.quoting)
    if len(files) == 1:
        return captioned
    listed = [line.strip() for line in read_lines(files[1]) if line.strip()]
    missing = [name for name in listed if name not in captioned.references]
    if missing:
        raise UserError(f"{files[1]} lists {missing[0]}, which has no caption in {files[0]}")
    return captioned.take(dict.fromkeys(listed))


def read_file(path: pathlib.Path, quoting: bool = False) -> Captioned:
    """Reads a captions file of any layout."""
    rows = read_coco(path) if path.suffix.lower() == ".json" else read_table(path, quoting)
    references: dict[str, list[str]] = {}
    for place, image, caption in rows:
        if not caption.strip():
            raise UserError(f"{path}, {place}: the caption of {image} is empty")
        if not image.strip() or "\0" in image:
            raise UserError(f"{path}, {place}: the image is {image!r}, expected the name of a file")
        references.setdefault(image, []).append(caption.strip())
    if not references:
        raise UserError(f"{path} is empty: expected lines of an image, a tab, a number, a tab and a caption")
    folders = image_folders(path)
    paths = {}
    for image in references:
        places = [folder / image for folder in folders]
        paths[image] = next(filter(os.path.exists, places), places[0])
    return Captioned(paths, references)


def image_folders(captions: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders that may contain the images of a captions file, the likeliest first: `images` beside it,
    COCO's `train2014`, the folder itself."""
    folder = captions.parent.parent if captions.parent.name == "annotations" else captions.parent
    stem = captions.name.split(".")[0].removeprefix("captions_")
    folders = [place for place in (folder / "images", folder / stem, folder) if place.is_dir()]
    return folders or [folder]


def read_table(path: pathlib.Path, quoting: bool) -> Iterator[tuple[str, str, str]]:
    """Yields (line, image, caption) of lines `image TAB number TAB caption`, or `image#number TAB caption` as in
    Flickr8k; the first line determines which."""
    columns = 0
    for number, cells in read_cells(path, quoting=quoting):
        place = f"line {number}"
        token, shown = TOKEN.fullmatch(cells[0]), "\t".join(cells).strip()[:40]
        columns = columns or (2 if token and len(cells) == 2 else 3)
        if columns == 2 and len(cells) == 2 and token:
            yield place, token[1], cells[1]
        elif columns == 3 and len(cells) == 3 and cells[1].isdigit():
            yield place, cells[0], cells[2]
        elif columns == 2:
            raise UserError(f"{path}, {place}: {shown!r} is not image#number, a tab, a caption")
        else:
            raise UserError(
                f"{path}, {place}: {shown!r} is not image, tab, number, tab, caption (nor image#number, tab, caption)"
            )


def read_coco(path: pathlib.Path) -> Iterator[tuple[str, str, str]]:
    """Yields (place, image, caption) of COCO's captions JSON: `images` with id and file_name, `annotations` with
    image_id and caption."""
    try:
        content = parse_json("".join(read_lines(path)))
    except ValueError as error:
        raise UserError(f"{path} is not a JSON file: {error}") from error
    names: dict[str, str] = {}
    for place, image in entries(content, "images", "image", path):
        image_id, name = coco_id(image, "id", f"{path}, {place}"), coco_text(image, "file_name", f"{path}, {place}")
        if names.setdefault(image_id, name) != name:
            raise UserError(f"{path}, {place}: {name} has the id {image_id} of {names[image_id]}; expected another id")
    for place, row in entries(content, "annotations", "annotation", path):
        image_id = coco_id(row, "image_id", f"{path}, {place}")
        if image_id not in names:
            raise UserError(f"{path}, {place}: image_id is {image_id}, but no image has this id")
        yield place, names[image_id], coco_text(row, "caption", f"{path}, {place}")


def entries(content, name: str, singular: str, path: pathlib.Path) -> Iterator[tuple[str, dict]]:
    """Yields (place, object) of a list in COCO's JSON."""
    rows = content.get(name) if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise UserError(f"{path} is not a captions file of COCO: expected an object with the lists images, annotations")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UserError(f"{path}, {singular} {number}: {shown(row)} is not an object")
        yield f"{singular} {number}", row


def coco_id(row: dict, field: str, place: str) -> str:
    """Returns an id as a string: 1, "1" and 1.0, which pandas writes, are the same."""
    value = row.get(field)
    is_id = value.is_integer() if isinstance(value, float) else isinstance(value, int | str)
    if isinstance(value, bool) or not is_id:
        raise UserError(f"{place}: {field} is {shown(row, field)}, expected an integer or a string")
    return as_name(value)


def coco_text(row: dict, field: str, place: str) -> str:
    value = row.get(field)
    if not isinstance(value, str):
        raise UserError(f"{place}: {field} is {shown(row, field)}, expected a string")
    return value


def shown(value, field: str | None = None) -> str:
    """Returns a JSON value, or a field of an object, as the file has it; long ones are cut."""
    if field is not None and field not in value:
        return "missing"
    return json.dumps(value if field is None else value[field], ensure_ascii=False)[:40]


def read_tfds(name: str, part: str, data: DataConfig) -> Captioned:
    """Reads a data set of tensorflow-datasets with the features image and captions (text), such as coco_captions.

    Its images are in archives without random access, so they are extracted once, still encoded, into the cache folder.
    The captions are written last and mark that the images are complete.
    """
    import tensorflow_datasets as tfds

    builder = sources.prepare_tfds(name.removeprefix(sources.TFDS), data.manual_dir)
    features = builder.info.features
    if "image" not in features or "captions" not in features:
        raise UserError(f"{name} has the features {', '.join(features)}: expected image and captions")
    splits = builder.info.splits
    split = split_of(part, splits)
    if splits and split not in splits:  # some data sets do not list their splits
        raise UserError(f"{name} has no part {part}: it has {', '.join(splits)}")
    folder = data.cache / "tfds" / builder.info.full_name.replace("/", "-")
    table = folder / f"captions_{split}.tsv"
    if not table.is_file():
        lines = []
        rows = without_autotune(builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()}))
        for number, row in enumerate(rows.as_numpy_iterator()):
            file_name = row.get("image/filename", b"").decode()
            image = f"{split}-{pathlib.PurePath(file_name).name or number}"  # different parts may use the same name
            with atomic_write(folder / "images" / image, "wb") as file:
                file.write(row["image"])
            texts = [" ".join(text.decode(errors="replace").split()) for text in row["captions"]["text"]]
            lines += [f"{image}\t{number}\t{text}\n" for number, text in enumerate(texts) if text]
        with atomic_write(table) as file:
            file.writelines(lines)
    return read_file(table)
