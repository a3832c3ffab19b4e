"""Prints a Markdown table of the predictions of sentiment runs for sentences as people type them.

    python tests/benchmarks/typed_sentences.py --model sentiment/imdb sentiment/imdb-reads

typed_sentences.tsv has forty sentences, with negation, contrast, irony, idioms, one word, typing errors and other
subjects than films, which were written, with their labels, before any run was asked; and the examples of the READMEs.
A run needs the labels negative and positive. A cell is the predicted label and its probability, in bold where the label
is wrong.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipelines.common import named_runs
from pipelines.common.serving import exports
from pipelines.common.serving.first_use import require_export
from pipelines.sentiment.__main__ import TASK, make_export

SENTENCES = Path(__file__).with_name("typed_sentences.tsv")
EXAMPLE = "README"  # kind of the examples of the READMEs


def read_sentences(path: Path = SENTENCES) -> list[dict[str, str]]:
    """Returns the rows of the table: text, label, kind."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def ask(model: Path, texts: list[str]) -> list[tuple[str, float]]:
    """Returns the label and its probability that the export of a run gives for each text."""
    require_export(model, TASK, make_export)
    loaded = exports.load(model, TASK, {"label", "probability", "probabilities"})
    found = loaded.signatures["serving_default"](text=tf.constant(texts))
    labels = [label.decode() for label in found["label"].numpy()]
    return list(zip(labels, found["probability"].numpy().tolist(), strict=True))


def table(rows: list[dict[str, str]], answers: dict[str, list[tuple[str, float]]]) -> str:
    """Returns the Markdown table: a column for each run, and in the last two rows how many of its labels are right."""
    lines = [["kind", "text", "label", *answers], ["---"] * (3 + len(answers))]
    for place, row in enumerate(rows):
        cells = []
        for given in answers.values():
            label, probability = given[place]
            cell = f"{label} {probability:.2f}"
            cells.append(cell if label == row["label"] else f"**{cell}**")
        lines.append([row["kind"], row["text"], row["label"], *cells])
    examples = [row["kind"] == EXAMPLE for row in rows]
    for name, chosen in (("the forty", np.flatnonzero(np.logical_not(examples))), (EXAMPLE, np.flatnonzero(examples))):
        right = [sum(given[place][0] == rows[place]["label"] for place in chosen) for given in answers.values()]
        lines.append([name, "", "right", *(f"{number} of {len(chosen)}" for number in right)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, nargs="+", required=True, help="runs or exports of sentiment")
    options = parser.parse_args()
    rows = read_sentences()
    texts = [row["text"] for row in rows]
    print(table(rows, {str(path): ask(named_runs.find(path), texts) for path in options.model}))


if __name__ == "__main__":
    main()
