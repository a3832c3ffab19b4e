"""The models of the page: found when it starts, loaded in the background or when they are first used.

This module does not import TensorFlow, which takes seconds: it is imported when the first model is loaded.
"""

import dataclasses
import logging
import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipelines.common import cli
from pipelines.common.errors import UserError
from pipelines.common.files import read_json
from pipelines.serve import discovery

if TYPE_CHECKING:
    from pipelines.serve.models import Model

LOG = logging.getLogger("pipelines.app")
TASKS = ("sentiment", "translation", "captioning", "video")
FIRST_ANSWER = 1.0  # seconds for it before models are loaded: the import of TensorFlow holds up all threads
SCORES = {"sentiment": "accuracy", "translation": "bleu", "captioning": "cider", "video": "accuracy"}


@dataclasses.dataclass(frozen=True)
class Found:
    """A run or an export that is not loaded yet.

    Attributes:
        name: TASK-FOLDER, as the server has it.
        data: the data of the run, such as "sample"; empty for an export without its run.
        source: the language of the source of a translation.
        features: whether a model of videos takes features in place of frames.
        score: of the run on its test data, by the score of the task.
    """

    name: str
    task: str
    path: pathlib.Path
    data: str = ""
    source: str = ""
    features: bool = False
    score: float = 0.0


def find(given: Mapping[str, Sequence[pathlib.Path]]) -> list[Found]:
    """Returns the models to show; without any given, all in saved_models, the best of each task first.

    Scores on different data cannot be compared: models of the embedded samples come last, and among those of videos
    the ones that take frames come first. The others are ordered by their score on their own test data.

    Raises:
        UserError: Two have one name.
    """
    paths = [(task, path) for task, some in given.items() for path in some]
    searched = not paths
    if searched:
        paths = [each for each in discovery.discover(discovery.find_saved_models()) if each[0] in TASKS]
    found = [describe(name, task, path) for name, (task, path) in discovery.named(paths).items()]
    if searched:
        found.sort(key=lambda each: (TASKS.index(each.task), each.features, each.data == "sample", -each.score))
    return found


def describe(name: str, task: str, path: pathlib.Path) -> Found:
    """Returns what the files of a run say about it; of an export, those of the run that it is in."""
    run = next((folder for folder in (path, *path.absolute().parents[:2]) if (folder / "config.json").is_file()), None)
    if run is None:
        return Found(name, task, path)
    stored = part(read_json(run / "config.json"), "config", "data")
    metrics = read_json(run / "metrics.json") if (run / "metrics.json").is_file() else {}
    return Found(
        name,
        task,
        path,
        data=str(part(stored, "location") or ""),
        source=str(part(stored, "source") or ""),
        features=(run / "features.json").is_file(),
        score=best_score(metrics, SCORES[task]),
    )


def part(value, *names: str):
    """Returns the value of nested objects under these names, None if there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def best_score(metrics, name: str) -> float:
    """Returns a score of metrics.json; where it depends on the beam size, the best one. 0 if there is none."""
    beams = part(metrics, "beams")
    places = [metrics, *(beams.values() if isinstance(beams, dict) else ())]
    values = [part(place, name) for place in places]
    return max((float(value) for value in values if isinstance(value, int | float)), default=0.0)


class Models:
    """The models by name.

    Args:
        all_at_start: whether all models are loaded in the background, or only the first of each task.

    Attributes:
        loaded: those that are loaded.
        failed: names of those that could not be loaded in the background.
        calls: task -> a lock, held during a call of a model: there is one at a time for each task.
        shown: an event, set by the page when it has first been shown.
        thread: loads models in the background, after that.
    """

    def __init__(self, found: Sequence[Found], all_at_start: bool = False):
        self.found = {each.name: each for each in found}
        self.all_at_start = all_at_start
        self.loaded: dict[str, Model] = {}
        self.failed: set[str] = set()
        self.loading = {name: threading.Lock() for name in self.found}
        self.calls = {task: threading.Lock() for task in TASKS}
        self.shown = threading.Event()
        self.thread = threading.Thread(target=self._run, name="models", daemon=True)

    def of(self, task: str) -> list[Found]:
        """Returns the models of a task, the first one first."""
        return [each for each in self.found.values() if each.task == task]

    @property
    def busy(self) -> bool:
        """Returns whether a model is being loaded or called."""
        locks = [*self.loading.values(), *self.calls.values()]
        return self.thread.is_alive() or any(lock.locked() for lock in locks)

    def get(self, name: str) -> "Model":
        """Returns a model, which is loaded if it is not yet. Raises UserError if it cannot be used."""
        if name not in self.found:
            raise UserError("choose a model of the list")
        with self.loading[name]:
            if name not in self.loaded:
                with cli.quiet_imports():
                    from pipelines.serve.models import Model

                self.loaded[name] = Model(name, self.found[name].task, self.found[name].path)
            return self.loaded[name]

    def _run(self):
        self.shown.wait(FIRST_ANSWER)
        self.load_at_start()

    def load_at_start(self):
        """Loads the first model of each task, then the others if they are wanted as well."""
        first = [each for task in TASKS for each in self.of(task)[:1]]
        others = [each for each in self.found.values() if each not in first]
        for each in [*first, *(others if self.all_at_start else ())]:
            self._load(each.name)

    def load_later(self, name: str):
        """Loads a model in the background, unless it is being loaded."""
        if not self.loading[name].locked():
            threading.Thread(target=self._load, args=[name], name=name, daemon=True).start()

    def _load(self, name: str):
        try:
            self.get(name)
        except UserError as error:
            self.failed.add(name)
            LOG.error("%s", error)
