"""The progress of a training run: the part of a checkpoint that is not a variable, and the rows of history.csv."""

import csv
import dataclasses

from pipelines.common import files


@dataclasses.dataclass
class Progress:
    """How far a run has been trained, as JSON values.

    Attributes:
        epoch: finished epochs, which is also the number of the current epoch, counted from 0.
        batch: batches of the current epoch that were trained on.
        step: batches of all epochs that were trained on.
        pending: batches whose gradients are accumulated, but not yet applied.
        sums: name of a metric -> [total, weight] over the current epoch.
        rows: the rows of history.csv, one for each finished epoch.
        best: `epoch`, `score`, `loss` and weights `file` of the best epoch so far; None before the first.
        waited: finished epochs since the best one.
        best_files: step of each checkpoint on the disk -> the weights file that was the best one at that step.
        seconds: training time of all processes that have trained the run.
        epoch_seconds: training time of the current epoch.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    pending: int = 0
    sums: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    rows: list[dict] = dataclasses.field(default_factory=list)
    best: dict | None = None
    waited: int = 0
    best_files: dict[str, str | None] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    epoch_seconds: float = 0.0

    def summary(self, monitor: str) -> dict:
        """Returns the summary of a run that ends here."""
        assert self.best is not None  # a training has at least one epoch
        best = self.rows[self.best["epoch"] - 1]
        return {
            "best_epoch": best["epoch"],
            "monitor": monitor,
            "best_score": best[monitor],
            "scores": {name: value for name, value in best.items() if name not in ("epoch", "step", "seconds")},
            "epochs": self.epoch,
            "steps": self.step,
            "seconds": round(self.seconds, 3),
        }


def write_history(path, rows: list[dict]):
    """Writes the rows as CSV, the whole file atomically.

    (keras.callbacks.CSVLogger appends: after a kill, the file may end with half a row, or with an epoch that is not in
    the checkpoint.)
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with files.atomic_write(path) as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
