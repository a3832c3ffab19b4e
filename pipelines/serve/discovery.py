"""Finds the exports and runs to serve, and names them. Does not import TensorFlow."""

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from pipelines.captioning.__main__ import make_export as export_captioning
from pipelines.common import named_runs
from pipelines.common.errors import UserError
from pipelines.common.files import data_files, read_json
from pipelines.common.options import Export
from pipelines.common.runs import Run
from pipelines.common.serving.first_use import GRAPH
from pipelines.sentiment.__main__ import make_export as export_sentiment
from pipelines.sentiment.language_model import config as language_model
from pipelines.translation.__main__ import make_export as export_translation
from pipelines.video.__main__ import make_export as export_video


@dataclasses.dataclass(frozen=True)
class Task:
    """A task, as the server sees it.

    Attributes:
        run_task: the task in config.json of its runs.
        pipeline: the package whose command exports runs.
        outputs: those of serving_default.
        export: function of the options of the command export, which it executes.
        batches: whether the answer to a row does not depend on the other rows. (Samples do: one seed is for all.)
    """

    run_task: str
    pipeline: str
    outputs: frozenset[str]
    export: Callable[[Export], object]
    batches: bool = True


TASKS = {
    "sentiment": Task("sentiment", "sentiment", frozenset({"label", "probability", "probabilities"}), export_sentiment),
    "translation": Task(
        "translation", "translation", frozenset({"translation", "score", "candidates"}), export_translation
    ),
    "captioning": Task("captioning", "captioning", frozenset({"caption", "score", "candidates"}), export_captioning),
    "video": Task("video", "video", frozenset({"labels", "probabilities"}), export_video),
    "language-model": Task(
        language_model.TASK, "sentiment", frozenset({"text", "score"}), export_sentiment, batches=False
    ),
}


def find_saved_models() -> pathlib.Path:
    """Returns the folder saved_models of the current folder, or that of the checkout."""
    here = pathlib.Path("saved_models")
    return here if here.is_dir() else named_runs.SAVED_MODELS


def discover(saved_models: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
    """Yields (task, folder) of each export, and of each run that has one or is finished, in saved_models/*/*."""
    for folder in data_files(saved_models, "*/*"):
        if (folder / GRAPH).is_file():
            if folder.parent.name in TASKS:
                yield folder.parent.name, folder
        elif (folder / "config.json").is_file():
            stored = read_json(folder / "config.json")
            run_task = stored.get("task") if isinstance(stored, dict) else None
            task = next((name for name, known in TASKS.items() if known.run_task == run_task), None)
            if task is None:
                continue
            run = Run.open(folder, TASKS[task].run_task)
            if (run.export / GRAPH).is_file() or run.finished:
                yield task, folder
            else:
                print(f"{folder} is left out: its training is not finished, and it has no export", file=sys.stderr)


def named(found: Sequence[tuple[str, pathlib.Path]]) -> dict[str, tuple[str, pathlib.Path]]:
    """Returns name -> (task, folder): TASK-FOLDER, such as sentiment-imdb. Raises UserError if two have one name."""
    names: dict[str, tuple[str, pathlib.Path]] = {}
    for task, path in found:
        folder = path.absolute()
        while (folder.name == "export" or folder.name.isdecimal()) and folder.parent != folder:
            folder = folder.parent
        name = f"{task}-{folder.name}"
        if name in names:
            raise UserError(f"{names[name][1]} and {path} would both have the name {name}: rename a folder")
        names[name] = task, path
    return names


def find(given: Mapping[str, Sequence[pathlib.Path]]) -> dict[str, tuple[str, pathlib.Path]]:
    """Returns name -> (task, folder) of the models to serve.

    Args:
        given: task -> runs and exports. Without any, all in saved_models.

    Raises:
        UserError: There is none, or two would have one name.
    """
    found = [(task, path) for task, paths in given.items() for path in paths]
    if not found:
        saved_models = find_saved_models()
        found = list(discover(saved_models))
        if not found:
            raise UserError(f"{saved_models} has no export and no finished run: expected one, or --sentiment RUN")
    return named(found)
