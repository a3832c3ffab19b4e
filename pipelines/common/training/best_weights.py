"""The best weights of a run: which epoch is the best, and the files with its weights.

The weights of the best epoch are a file beside the checkpoints, named by its step, and linked to the weights file of
the run. A checkpoint names the file that was the best one when it was written. The file is written first, so that a
checkpoint never names a missing file, even after a kill, and it is kept as long as the checkpoint.
"""

import math
from typing import Literal

import keras

from pipelines.common import files
from pipelines.common.runs import Run
from pipelines.common.training import workers
from pipelines.common.training.checkpoints import KEEP
from pipelines.common.training.progress import Progress
from pipelines.common.weights import save_weights


class BestWeights:
    """Keeps the weights of the epoch with the best score. `Progress` has its state: `best`, `waited`, `best_files`.

    Args:
        monitor: name of the metric that is the score, a column of history.csv.
        mode: whether its largest ("max") or its smallest ("min") value is the best.

    Raises:
        ValueError: an unknown mode.
    """

    def __init__(self, run: Run, monitor: str, mode: Literal["max", "min"]):
        if mode not in ("max", "min"):
            raise ValueError(f"mode is {mode!r}, expected 'max' or 'min'")
        self.run, self.monitor, self.mode = run, monitor, mode

    def update(self, progress: Progress, row: dict, model: keras.Model):
        """Saves the weights of the model if its epoch, a row of history.csv, is the best one so far.

        Raises:
            ValueError: the row has no `monitor`.
        """
        if self.monitor not in row:
            raise ValueError(f"monitor is {self.monitor!r}, expected one of {', '.join(row)}")
        progress.waited += 1
        if not is_better(row, progress.best, self.monitor, self.mode):
            return
        file = f"best-{row['step']:09d}.weights.h5"
        if workers.is_chief():
            save_weights(model, self.run.checkpoints / file)
            files.publish(self.run.checkpoints / file, self.run.weights_file)
        loss = row.get("val_loss", math.nan)
        progress.best = {"epoch": row["epoch"], "score": row[self.monitor], "loss": loss, "file": file}
        progress.waited = 0

    def before_checkpoint(self, progress: Progress):
        """Makes the progress that is about to be written name the best file of each of the last checkpoints."""
        progress.best_files[str(progress.step)] = progress.best["file"] if progress.best else None
        progress.best_files = dict(sorted(progress.best_files.items(), key=lambda item: int(item[0]))[-KEEP:])

    def after_checkpoint(self, progress: Progress):
        """Deletes the files that no checkpoint names any more."""
        for file in self.run.checkpoints.glob("best-*.weights.h5"):
            if file.name not in progress.best_files.values():
                file.unlink(missing_ok=True)

    def restore(self, progress: Progress):
        """Makes the best weights of a restored checkpoint those of the run."""
        if progress.best:
            files.publish(self.run.checkpoints / progress.best["file"], self.run.weights_file)


def is_better(row: dict, best: dict | None, monitor: str, mode: str) -> bool:
    """Returns whether the epoch of a row is better than the best one so far (Progress.best).

    Of two equal scores, the one with the lower val_loss is better: on a small validation set, several epochs may
    predict every example correctly, but with different confidence.
    """
    score = row[monitor]
    if best is None or math.isnan(best["score"]):
        return True
    if score == best["score"]:
        return row.get("val_loss", math.nan) < best.get("loss", math.nan)
    return score > best["score"] if mode == "max" else score < best["score"]
