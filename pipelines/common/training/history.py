"""The epochs of a run: one row each, and which of them is the best."""

import csv
import math

from pipelines.common import files


def improves(row: dict, best: dict | None, monitor: str, mode: str) -> bool:
    """Whether an epoch is better than the best so far: `best` has its "score" and its "loss", None before the first.

    Of equal scores that with the lower val_loss is the better: on few examples, early epochs may be right on all, and
    unsure of them.
    """
    score = row[monitor]
    if best is None or math.isnan(best["score"]):
        return True
    if score == best["score"]:
        return row.get("val_loss", math.nan) < best.get("loss", math.nan)
    return score > best["score"] if mode == "max" else score < best["score"]


def write_history(path, rows: list[dict]):
    """One line an epoch, the whole file atomically (keras.callbacks.CSVLogger appends: after a kill its last line may
    be half a line, or an epoch that the checkpoint does not know)."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with files.atomic_write(path) as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
