"""Describes a training, so that workers can compare it: configuration, data, versions and source code."""

import os
import pathlib
import zlib
from collections.abc import Iterator, Mapping

from pipelines.common.config import expand_home, map_paths
from pipelines.common.files import data_files
from pipelines.common.runs import NOT_COMPARED, as_json, flatten, versions

OF_THE_MACHINE = ("run", "cache", "manual_dir")  # paths that may differ
READ = 2**28  # bytes of the data that the checksums cover, at most; of what follows, only names and sizes count
SHOWN = 3  # differences in a message


def describe(task: str, config) -> dict[str, object]:
    """Returns JSON values by name. Two workers can train together if theirs are equal.

    Paths do not count, but the names, sizes and checksums of the files there.
    """
    fields = {
        name: value
        for name, value in flatten(as_json(map_paths(config, lambda path: pathlib.Path()))).items()
        if name not in NOT_COMPARED and name.rpartition(".")[2] not in OF_THE_MACHINE
    }
    location = fields.get("data.location")
    places = dict(paths(config))
    if isinstance(location, str) and location != "sample" and expand_home(location).exists():
        places["data"] = expand_home(location)
        del fields["data.location"]
    files = {f"{name}: {file}": found for name, place in places.items() for file, found in fingerprint(place).items()}
    software = {f"the version of {name}": version for name, version in versions().items()}
    code = zlib.crc32(repr(list(source_files())).encode())
    return {"task": task, **software, "the source code": f"{code:08x}", **fields, **files}


def paths(config, prefix: str = "") -> Iterator[tuple[str, pathlib.Path]]:
    """Yields the names and values of the fields that are paths of what a training reads."""
    for name, value in vars(config).items():
        values = value if isinstance(value, tuple) else (value,)
        if name not in OF_THE_MACHINE:
            for number, each in enumerate(values):
                if isinstance(each, pathlib.Path):
                    yield f"{prefix}{name}" + (f".{number}" if len(values) > 1 else ""), expand_home(each)
        if hasattr(value, "__dataclass_fields__"):
            yield from paths(value, f"{prefix}{name}.")


def fingerprint(path: pathlib.Path) -> dict[str, str]:
    """Returns a description of a file, or of each file and folder in a folder, by name.

    In the folder of a run these are the weights and the files beside them, without checkpoints and logs.
    """
    if not path.exists():
        return {path.name: "missing"}
    is_run = (path / "config.json").is_file()
    entries = [path] if path.is_file() else data_files(path)
    left = READ
    found = {}
    for entry in entries:
        if is_run and (entry.is_dir() or entry.suffix in (".csv", ".png")):
            continue
        checksum = count = size = 0
        for file in [entry] if entry.is_file() else files_below(entry):
            count, size, name = count + 1, size + file.stat().st_size, str(file.relative_to(path.parent))
            checksum = zlib.crc32(f"{name} {file.stat().st_size}".encode(), checksum)
            with open(file, "rb") as content:
                while left > 0 and (block := content.read(min(left, 2**20))):
                    checksum, left = zlib.crc32(block, checksum), left - len(block)
        number = "" if entry.is_file() else f"{count:,} files, "
        found[entry.name] = f"{number}{size:,} bytes, CRC {checksum:08x}"
    return found


def files_below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        yield from (pathlib.Path(place, name) for name in sorted(names) if not name.startswith("."))


def source_files() -> Iterator[tuple[str, int]]:
    """Yields the name and checksum of every module of the project."""
    root = pathlib.Path(__file__).resolve().parents[3]
    for package in ("layers", "pipelines"):
        for file in sorted((root / package).rglob("*.py")):
            yield str(file.relative_to(root)), zlib.crc32(file.read_bytes())


def differences(chief: Mapping[str, object], other: Mapping[str, object], index: int) -> str:
    """Returns which values of worker `index` are not those of the chief, in words; empty if all are."""
    names = [name for name in {**chief, **other} if chief.get(name) != other.get(name)]
    found = [f"{name} is {shown(chief, name)} at worker 0 and {shown(other, name)} at worker {index}" for name in names]
    more = [f"{len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return "; ".join(found[:SHOWN] + more)


def shown(values: Mapping[str, object], name: str) -> str:
    return str(values[name]) if name in values else "missing"
