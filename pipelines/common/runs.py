"""Run folders: everything one training wrote, and the configuration that explains it. No pickles."""

import contextlib
import dataclasses
import fcntl
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import typing

from pipelines.common.config import expand_home, from_json, map_paths
from pipelines.common.errors import UserError
from pipelines.common.files import PARTIAL, data_files, read_json, write_json

NOT_COMPARED = ("run", "training.worker_timeout")  # fields that may change when a run is resumed


def beside_release(path: pathlib.Path) -> pathlib.Path:
    """Returns the folder itself, or my-NAME beside it if it has a release, which training does not change."""
    stored = read_json(path / "config.json") if (path / "config.json").is_file() else None
    return path.with_name(f"my-{path.name}") if isinstance(stored, dict) and "weights" in stored else path


class Summary(dict):
    """The JSON object in a file, as a dict; an entry that it does not have raises UserError when it is read.

    Raises:
        UserError: The file does not contain an object.
    """

    def __init__(self, path: pathlib.Path):
        content = read_json(path)
        if not isinstance(content, dict):
            raise UserError(f"{path} is not the summary of a training: expected an object")
        super().__init__(content)
        self.path = path

    def __missing__(self, name):
        raise UserError(f"{self.path} is not the summary of a training: it has no {name}")


class Run:
    """A run folder: the results of one training, with its configuration.

    `config` is the configuration as stored, in its JSON form. To train, make one with `prepare` and `create`, or with
    `start`, which is both; to use a trained model, with `open`. `released` is None except in a folder that the command
    release wrote: {"format": that of the weights file, "sha256": its checksum}.
    """

    def __init__(self, path, task: str, config: dict, preset: str | None, released: dict | None = None):
        self.path = pathlib.Path(path)
        self.task = task
        self.config = config
        self.preset = preset
        self.released = released
        self._lock: typing.IO | None = None

    config_file = property(lambda self: self.path / "config.json")
    weights_file = property(lambda self: self.path / "model.weights.h5")
    metrics_file = property(lambda self: self.path / "metrics.json")
    history_file = property(lambda self: self.path / "history.csv")
    curves_file = property(lambda self: self.path / "curves.png")
    status_file = property(lambda self: self.path / "status.json")
    checkpoints = property(lambda self: self.path / "checkpoints")
    logs = property(lambda self: self.path / "logs")
    export = property(lambda self: self.path / "export")

    @classmethod
    def start(cls, path, task: str, config, preset: str | None = None) -> "Run":
        """Returns the run in the folder, which is created or has the same task and config; see `prepare`."""
        return cls.prepare(path, task, config, preset).create()

    @classmethod
    def prepare(cls, path, task: str, config, preset: str | None = None) -> "Run":
        """Returns the run in the folder, locked unless it is finished; without a folder, a run that `create` creates.

        `config` is a dict of JSON values, or a dataclass. Raises UserError when the folder has the run of another
        config (naming the fields) or task, or a release, or when another process trains in it.
        """
        path = pathlib.Path(path)
        if not (path / "config.json").is_file():
            return cls(path, task, as_json(config), preset)
        run = cls.open(path, task)
        if run.released:
            other = beside_release(path)
            raise UserError(f"{path} is a released model, which training does not change: expected --run {other}")
        run._refuse_other_config(config)
        if not run.finished:
            run._take_lock()
            run._sweep()
        return run

    def create(self) -> "Run":
        """Creates and locks the folder of a run that `prepare` did not find; returns the run.

        Raises UserError when the folder has other files or cannot be created.
        """
        if self._lock is not None or self.finished:
            return self
        if self.config_file.is_file():  # another process has created it since
            return self.prepare(self.path, self.task, self.config, self.preset)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            strangers = [entry.name for entry in data_files(self.path)]
        except OSError as error:
            raise UserError(f"the run folder {self.path} cannot be created: {error.strerror}") from error
        if strangers:
            raise UserError(
                f"{self.path} is not a run and not empty (it contains {strangers[0]}): choose another --run folder"
            )
        self._take_lock()
        self._sweep()
        stored = {"task": self.task, "preset": self.preset, "config": self.config, "versions": versions()}
        write_json(self.config_file, stored)
        return self

    @classmethod
    def open(cls, path, task: str) -> "Run":
        """Opens a run of `task` to read it. Raises UserError if the folder is missing, or is not a run of the task."""
        path = pathlib.Path(path)
        if not path.is_dir():
            raise UserError(f"the run folder {path} does not exist")
        if (path / "saved_model.pb").exists():
            raise UserError(f"{path} is an export: expected the folder of a run, such as {path.parent}")
        if not (path / "config.json").is_file():
            raise UserError(f"{path} is not a run: it has no config.json")
        stored = read_json(path / "config.json")
        if not isinstance(stored, dict) or not isinstance(stored.get("config"), dict) or "task" not in stored:
            raise UserError(
                f"{path / 'config.json'} is not the configuration of a run: expected the fields task and config"
            )
        if stored["task"] != task:
            raise UserError(f"{path} is a run of the pipeline {stored['task']}: expected one of {task}")
        released = stored.get("weights")
        if released is not None and not (isinstance(released, dict) and isinstance(released.get("sha256"), str)):
            raise UserError(f"{path / 'config.json'} has no SHA-256 of the weights: expected weights.sha256, a string")
        return cls(path, task, stored["config"], stored.get("preset"), released)

    @property
    def finished(self) -> bool:
        """Returns whether the training has ended (early stopping included)."""
        return self.status_file.is_file()

    @property
    def summary(self) -> dict:
        """The argument of `finish`; empty while the run is unfinished."""
        return Summary(self.status_file) if self.finished else {}

    def finish(self, summary: dict):
        """Marks the run as finished, atomically, and releases the lock."""
        write_json(self.status_file, summary)
        self.close()

    def require_weights(self) -> "Run":
        """Returns the run itself. Raises UserError if it does not have trained weights yet."""
        if not self.weights_file.is_file():
            raise UserError(f"{self.path} has no {self.weights_file.name} yet: train the run first")
        return self

    def load_weights(self, model):
        """Loads the trained weights into a built model.

        Raises UserError if there are none yet, if they do not fit the model, or if they are not those of the release.
        """
        from pipelines.common import weights  # imports h5py, which is slow

        self.require_weights()
        if self.released and weights.sha256(self.weights_file) != self.released["sha256"]:
            raise UserError(
                f"{self.weights_file} is damaged or not that of this release: its SHA-256 is not the one in"
                f" {self.config_file.name}; copy the folder again"
            )
        weights.load_weights(model, self.weights_file)

    def close(self):
        """Releases the lock (as the end of the process does)."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *unused):
        self.close()

    def _refuse_other_config(self, config):
        """Raises UserError, naming the fields, unless the run was made with `config` (the field `run` aside).

        A field that the stored configuration does not have is newer than the run, which was made with its default. A
        path may be written in another way, such as an absolute one for a relative one.
        """
        stored = from_json(type(config), self.config) if dataclasses.is_dataclass(config) else self.config
        stored, wanted = with_absolute_paths(stored), with_absolute_paths(config)
        missing = "(none)"
        changes = [
            f"{field} was {json.dumps(stored[field]) if field in stored else missing}"
            f" and is now {json.dumps(wanted[field]) if field in wanted else missing}"
            for field in sorted(stored.keys() | wanted.keys())
            if stored.get(field, missing) != wanted.get(field, missing)
        ]
        if changes:
            raise UserError(
                f"{self.path} is a run of another config: {'; '.join(changes)}; choose another --run, or delete it"
            )

    def _take_lock(self):
        try:
            self._lock = file = open(self.path / ".lock", "a")  # noqa: SIM115 (held until close)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            if isinstance(error, BlockingIOError):
                raise UserError(f"another process is training in {self.path}") from error
            raise UserError(f"the run folder {self.path} cannot be locked: {error.strerror}") from error

    def _sweep(self):
        """Removes the temporary files of a process that was killed while writing. Needs the lock."""
        for left in list(self.path.rglob(f"{PARTIAL}*")):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    left.unlink()


def as_json(config) -> dict:
    """Returns the JSON form of a configuration (a dict or a dataclass): tuples become lists, paths strings."""
    if not isinstance(config, dict):
        config = dataclasses.asdict(config)
    return json.loads(json.dumps(config, default=os.fspath))


def with_absolute_paths(config) -> dict:
    """Returns the flat JSON form of a config, without the fields that may change."""
    flat = flatten(as_json(map_paths(config, pathlib.Path.resolve))) | dict.fromkeys(NOT_COMPARED)
    location = flat.get("data.location")
    if location and location != "sample" and expand_home(location).exists():  # the sample, and tfds:NAME, have no path
        flat["data.location"] = str(expand_home(location).resolve())
    return flat


def flatten(config: dict, prefix: str = "") -> dict:
    """Returns nested fields by dotted names: {"a": {"b": 1}} becomes {"a.b": 1}."""
    flat: dict = {}
    for name, value in config.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def versions() -> dict:
    """Returns the versions of software that results may depend on."""
    found = {"python": platform.python_version()}
    for package in ("tensorflow", "keras", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
