"""Releases: small, documented folders of finished runs, which are runs like any other.

A release has the configuration, vocabularies, labels, history and scores of its run, its weights, rounded or not, and
README.md, the card. config.json also has the format and the SHA-256 of the weights. It contains no path of the machine
on which the run was trained: public data is named, and of the path of other data the last part is kept.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import sys
from collections.abc import Callable
from typing import Any

from pipelines.common import confidence, files, named_runs
from pipelines.common.card import Card, DataSet, Score
from pipelines.common.config import from_json, map_paths, replace, reset
from pipelines.common.errors import UserError
from pipelines.common.options import Release
from pipelines.common.runs import Run, as_json
from pipelines.common.weights import round_weights, sha256

ABSENT = "not-included"  # folder, in --data, of data of one's own: evaluate then says that it does not exist
COPIED = ("history.csv", "status.json", confidence.FILE)
FIELDS_OF_THE_MACHINE = ("manual_dir", "cache")  # of the data: a release has their defaults
INITIAL_WEIGHTS = ("weights", "encoder_weights")  # of the model: may be the path of a file


@dataclasses.dataclass(frozen=True)
class Description:
    """Properties that the releases of a pipeline share.

    Attributes:
        task: the task of its runs.
        kind: the class of its configuration.
        presets: its presets, name -> (description, configuration).
        files: names of the vocabulary and label files in its runs.
        evaluate: evaluate(run, split) writes the scores of a run on its own data and returns them.
        scores: scores(what evaluate returned) returns those that the card shows.
        public_name: public_name(--data) returns the name of a data set; None for data of one's own.
        data_sets: the public data sets, by name.
        hub_task: the task by its name on Hugging Face's hub, such as text-classification.
        tags: further tags there.
        languages: languages(config) returns the codes of the languages; empty if they are not known.
        about: about(config) returns what the model does, in one paragraph.
        use: use(config) returns examples of commands, in which NAME stands for the release.
        package: the package below pipelines whose command line it is; "": that with the name of the task.
        train: the command that trains a preset.
        measured: what gives the same scores; "": the command evaluate.
    """

    task: str
    kind: type
    presets: dict
    files: tuple[str, ...]
    evaluate: Callable[[pathlib.Path, Any], dict]
    scores: Callable[[dict], list[Score]]
    public_name: Callable[[str], str | None]
    data_sets: dict[str, DataSet]
    hub_task: str
    tags: tuple[str, ...]
    languages: Callable[..., list[str]]
    about: Callable[..., str]
    use: Callable[..., tuple[str, ...]]
    package: str = ""
    train: str = "train"
    measured: str = ""

    @property
    def pipeline(self) -> str:
        """The package below pipelines whose command line it is."""
        return self.package or self.task


def release(description: Description, options: Release) -> pathlib.Path:
    """Writes the release of a run, completely or not at all, and returns its folder.

    The run and its rounded weights are evaluated on the same data, whose tables go to standard error.

    Raises:
        UserError: The run is not finished or is a release, its data cannot be read, or the folder is not empty.
    """
    run, to = Run.open(options.run, description.task), options.folder
    refuse(run)
    faults = read_limits(options.limits)
    refuse_other_files(to)
    config = from_json(description.kind, run.config)
    tuned_on = config.data.location
    if options.base_data:
        config = dataclasses.replace(config, data=data_of_base(description, config))
    public = description.public_name(config.data.location)
    shared = portable(config, public, to)
    with files.partial_folder(to) as folder:
        # Evaluated with the configuration of the run, whose data is on this machine.
        scratch = folder / "scratch"
        fitted = scratch / "float32"  # evaluation fits the confidence of a run that has none
        scores: dict[str, dict] = {}
        for kind in dict.fromkeys(("float32", options.weights)):
            write_run(description, run, scratch / kind, kind, as_json(config), fitted)
            print(f"{options.run}, weights in {kind}:", file=sys.stderr)
            with contextlib.redirect_stdout(sys.stderr):
                scores[kind] = description.evaluate(scratch / kind, options.split)
        weights = write_run(description, run, folder, options.weights, as_json(shared), fitted)
        shutil.rmtree(scratch)
        files.write_json(folder / "metrics.json", {**scores[options.weights], "data": shared.data.location})
        card = Card(
            description=description,
            name=name_of(to, description.pipeline),
            run=run,
            config=shared,
            public=public,
            tuned_on=description.public_name(tuned_on) or f"{ABSENT}/{pathlib.PurePath(tuned_on).name}",
            weights=weights,
            found=scores,
            faults=faults,
        )
        with files.atomic_write(folder / "README.md") as file:
            file.write(card.text())
        files.sync_tree(folder)
        os.replace(folder, to)
        files.sync_folder(to.parent)
    return to


def data_of_base(description: Description, config):
    """Returns the configuration of the data of the run that fine-tuning started from; UserError if there was none."""
    if config.base is None:
        raise UserError("--base-data is for a fine-tuned run, but this one was not fine-tuned")
    return from_json(description.kind, Run.open(config.base, description.task).config).data


def refuse(run: Run):
    """Raises UserError unless the run is finished and not a release itself."""
    if run.released:
        raise UserError(f"{run.path} is a release already: expected the run that was trained")
    if not run.finished:
        raise UserError(f"{run.path} is not finished: expected a run whose training has ended")
    run.require_weights()


def read_limits(path: pathlib.Path | None) -> str:
    """Returns the text of the file; empty without one."""
    if path is None:
        return ""
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UserError(f"--limits {path} could not be read: {reason}") from error


def refuse_other_files(to: pathlib.Path):
    """Raises UserError unless `to` is a new or empty folder."""
    if to.exists() and not to.is_dir():
        raise UserError(f"{to} is a file: expected a new or empty folder for the release")
    if to.is_dir() and (content := sorted(entry.name for entry in to.iterdir())):
        raise UserError(f"{to} is not empty (it contains {content[0]}): expected a new or empty folder for the release")


def name_of(to: pathlib.Path, pipeline: str) -> str:
    """Returns the name of a release: its folder below saved_models; the pipeline and its last part elsewhere."""
    folder = to.resolve()
    if folder.is_relative_to(named_runs.SAVED_MODELS):
        return folder.relative_to(named_runs.SAVED_MODELS).as_posix()
    return f"{pipeline}/{folder.name}"


def write_run(
    description: Description, run: Run, folder: pathlib.Path, kind: str, config: dict, fitted: pathlib.Path
) -> dict:
    """Writes the run to a folder, without its scores; returns the format and the SHA-256 of the weights.

    Args:
        fitted: folder with files that the run may lack.
    """
    copy = Run(folder, run.task, config, run.preset)
    round_weights(run.weights_file, copy.weights_file, kind)
    weights = {"format": kind, "sha256": sha256(copy.weights_file)}
    for name in (*description.files, *COPIED):
        sources = [path / name for path in (run.path, fitted) if path != folder and (path / name).is_file()]
        if sources:
            shutil.copyfile(sources[0], folder / name)
    files.write_json(copy.config_file, {**files.read_json(run.config_file), "config": config, "weights": weights})
    return weights


def portable(config, public: str | None, to: pathlib.Path):
    """Returns the configuration without paths of this machine.

    Args:
        config: the configuration of the run.
        public: the name of its data; None for data of one's own, of which the last part of the path is kept.
        to: the folder of the release.
    """
    location = public or f"{ABSENT}/{pathlib.PurePath(config.data.location).name}"
    machine = [field for field in FIELDS_OF_THE_MACHINE if hasattr(config.data, field)]
    initial = {
        field: pathlib.PurePath(getattr(config.model, field)).name
        for field in INITIAL_WEIGHTS
        if hasattr(config.model, field)
    }
    config = replace(config, run=pathlib.Path(to.name), data=reset(config.data, *machine))
    return map_paths(replace(config, location=location, **initial), without_machine)


def without_machine(path: pathlib.Path) -> pathlib.Path:
    """Returns a path inside the checkout, such as saved_models/sentiment/imdb, as it is; of others the last part."""
    return pathlib.Path(path.name) if path.is_absolute() or {"..", "~"} & set(path.parts) else path
