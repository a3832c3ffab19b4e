"""Locates data: the embedded sample, a path, a folder of the real data, or tensorflow-datasets."""

import os
import pathlib
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable

from pipelines.common.config import expand_home
from pipelines.common.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parents[3]
TFDS = "tfds:"
PROBE_SECONDS = 5.0


def locate(where: str, task: str, fallbacks: dict[str, tuple[str, str]]) -> pathlib.Path | str:
    """Returns an existing path, or a string `tfds:NAME`, for a value of `--data`.

    In this order: `sample` is the sample of the task in the checkout; `tfds:NAME` is returned as it is; a name in
    `fallbacks` is the folder of this name in UNFOLD_DATA (or ../shared/data beside the checkout), if it exists; then
    the value is a path; and a name in `fallbacks` that is not a path is replaced by its fallback.

    Args:
        fallbacks: name of a data set -> (what to read instead, such as `tfds:imdb_reviews`, or ""; address of its
            source).

    Raises:
        UserError: There is no such data, or the sample is used outside of a checkout.
    """
    if where == "sample":
        return sample(task)
    if where.startswith(TFDS):
        if where == TFDS:
            raise UserError("--data is tfds: without a name; expected one such as tfds:imdb_reviews")
        return where
    if not where:
        raise UserError("--data is empty: expected sample, a file, a folder or tfds:NAME")
    if where in fallbacks and (real_data() / where).exists():
        return real_data() / where
    if os.path.exists(expand_home(where)):
        return expand_home(where)
    if where in fallbacks:
        instead, address = fallbacks[where]
        if instead:
            return instead
        raise UserError(f"the data {where} is not in {real_data()}: download it from {address} or set UNFOLD_DATA")
    raise UserError(f"--data {where} does not exist: expected sample, a file, a folder or tfds:NAME")


def public_name(where: str, named: Iterable[str]) -> str | None:
    """Returns the name under which `locate` finds the same public data on every machine; None for data of one's own.

    Args:
        where: a value of `--data`; the path of a folder of the real data stands for its name.
        named: names of data sets, the `fallbacks` of `locate`.
    """
    if where == "sample" or where.startswith(TFDS):
        return where
    path = expand_home(where)
    if where in named and ((real_data() / where).exists() or not path.exists()):
        return where
    return next((name for name in named if path.exists() and path.resolve() == (real_data() / name).resolve()), None)


def sample_files(task: str, pattern: str) -> list[pathlib.Path]:
    """Returns files of the embedded sample, sorted by name; none outside of a checkout."""
    return sorted((ROOT / "data" / "samples" / task).glob(pattern))


def sample(task: str) -> pathlib.Path:
    """Returns the folder of the embedded sample; raises UserError outside of a checkout."""
    folder = ROOT / "data" / "samples" / task
    if not folder.is_dir():
        raise UserError(
            f"the sample is part of a checkout of the project, and {ROOT} is not one (no data/samples/{task}):"
            " give --data a file or folder of your own"
        )
    return folder


def real_data() -> pathlib.Path:
    """Returns the folder of the real data sets, which may not exist."""
    return pathlib.Path(os.environ.get("UNFOLD_DATA") or ROOT.parent / "shared" / "data")


def prepare_tfds(name: str, manual_dir: pathlib.Path | None = None):
    """Returns a tensorflow-datasets builder with prepared data; if necessary, prepares it from the archives in
    `manual_dir` or downloads it.

    Raises:
        UserError: There is no such data set or folder, an archive is wrong, or there is no network (detected within
            seconds; tensorflow-datasets itself would try for minutes).
    """
    import tensorflow_datasets as tfds

    if manual_dir is not None and not pathlib.Path(manual_dir).is_dir():
        raise UserError(f"--manual-dir {manual_dir} is not a folder: expected the one with the archive")
    try:
        builder = tfds.builder(name, try_gcs=False)
    except (ValueError, AssertionError) as error:
        raise UserError(f"tfds:{name} is not a data set of tensorflow-datasets: {first_line(error)}") from error
    if builder.is_prepared():
        return builder
    refuse_offline(name, {url: info.filename for url, info in builder.url_infos.items()}, manual_dir)
    options = {} if manual_dir is None else {"manual_dir": str(manual_dir)}
    try:
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False, **options))
    except Exception as error:  # the code of a data set may raise any exception
        raise UserError(f"tfds:{name} could not be prepared: {first_line(error)}") from error
    return builder


def refuse_offline(name: str, archives: dict[str, str], manual_dir: pathlib.Path | None):
    """Raises UserError if one of `archives` (address -> file name) is neither in `manual_dir` nor reachable."""
    for address, file_name in archives.items():
        if manual_dir is not None and (pathlib.Path(manual_dir) / file_name).is_file():
            continue
        if not reachable(address):
            raise UserError(
                f"there is no network to download {address} for tfds:{name}: download {file_name} on another machine"
                " and give its folder with --manual-dir, or give --data a file or folder"
            )


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def reachable(address: str, seconds: float = PROBE_SECONDS) -> bool:
    """Returns whether the server of a web address answers within `seconds`; name resolution could take longer."""
    answers = []

    def ask():
        request = urllib.request.Request(address, method="HEAD")
        try:
            with urllib.request.build_opener().open(request, timeout=seconds):
                answers.append(True)
        except urllib.error.HTTPError:
            answers.append(True)  # the server refused the request, but it answered
        except OSError:
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answers)
