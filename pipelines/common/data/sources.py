"""Where data is: the embedded sample, a path, a folder of the real data, or tensorflow-datasets."""

import os
import pathlib
import threading
import urllib.error
import urllib.request

from pipelines.common.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parents[3]
TFDS = "tfds:"
PROBE_SECONDS = 5.0


def locate(where: str, task: str, fallbacks: dict[str, tuple[str, str]]) -> pathlib.Path | str:
    """What `--data` means: an existing path, or a string `tfds:NAME`.

    In this order: `sample` is the sample of the task in the checkout; `tfds:NAME` stays; a name of `fallbacks` is the
    folder of that name under UNFOLD_DATA (or ../shared/data beside the checkout); anything else, and a name whose
    folder is not there, is a path; a name that is no path either takes its fallback.

    Args:
        fallbacks: name of a data set -> (what to read instead, such as `tfds:imdb_reviews`, or ""; address of the
            source).

    Raises:
        UserError: there is no such thing, or the sample is asked for outside of a checkout.
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
    if pathlib.Path(where).exists():
        return pathlib.Path(where)
    if where in fallbacks:
        instead, address = fallbacks[where]
        if instead:
            return instead
        raise UserError(f"the data {where} is not in {real_data()}: fetch it from {address} or set UNFOLD_DATA")
    raise UserError(f"--data {where} does not exist: expected sample, a file, a folder or tfds:NAME")


def sample(task: str) -> pathlib.Path:
    """The folder of the embedded sample; UserError outside of a checkout, where there is none."""
    folder = ROOT / "data" / "samples" / task
    if not folder.is_dir():
        raise UserError(
            f"the sample is part of a checkout of the project, and {ROOT} is none (no data/samples/{task}):"
            " give --data a file or folder of your own"
        )
    return folder


def real_data() -> pathlib.Path:
    """The folder that holds the real data sets, which need not exist."""
    return pathlib.Path(os.environ.get("UNFOLD_DATA") or ROOT.parent / "shared" / "data")


def prepare_tfds(name: str, manual_dir: pathlib.Path | None = None):
    """A tensorflow-datasets builder whose data is on this machine: prepared before, made from the archives in
    `manual_dir`, or fetched now.

    Raises:
        UserError: no such data set, no such folder, a wrong archive, or no network (found out within seconds:
            tensorflow-datasets by itself tries for minutes).
    """
    import tensorflow_datasets as tfds

    if manual_dir is not None and not pathlib.Path(manual_dir).is_dir():
        raise UserError(f"--manual-dir {manual_dir} is no folder: expected the one that holds the archive")
    try:
        builder = tfds.builder(name, try_gcs=False)
    except (ValueError, AssertionError) as error:
        raise UserError(f"tfds:{name} is no data set of tensorflow-datasets: {first_line(error)}") from error
    if builder.is_prepared():
        return builder
    refuse_offline(name, {url: info.filename for url, info in builder.url_infos.items()}, manual_dir)
    options = {} if manual_dir is None else {"manual_dir": str(manual_dir)}
    try:
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False, **options))
    except Exception as error:  # what goes wrong inside of a data set's own code has no common class
        raise UserError(f"tfds:{name} could not be prepared: {first_line(error)}") from error
    return builder


def refuse_offline(name: str, archives: dict[str, str], manual_dir: pathlib.Path | None):
    """Raises UserError when one of `archives` (address -> file name) is not in `manual_dir` nor to be reached."""
    for address, file_name in archives.items():
        if manual_dir is not None and (pathlib.Path(manual_dir) / file_name).is_file():
            continue
        if not reachable(address):
            raise UserError(
                f"there is no network to fetch {address} for tfds:{name}: download {file_name} on another machine and"
                " give the folder that holds it with --manual-dir, or give --data a file or folder"
            )


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def reachable(address: str, seconds: float = PROBE_SECONDS) -> bool:
    """True when the server of a web address answers, within `seconds` (a name server can hang for longer)."""
    answers = []

    def ask():
        request = urllib.request.Request(address, method="HEAD")
        try:
            with urllib.request.build_opener().open(request, timeout=seconds):
                answers.append(True)
        except urllib.error.HTTPError:
            answers.append(True)  # it refused the question, but it is there
        except OSError:
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answers)
