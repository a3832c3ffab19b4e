"""Self-training: trained classifiers, the teachers, label the unlabelled reviews for a new one, the student.

Xie et al. 2020, "Self-training with noisy student improves ImageNet classification": the teachers predict without
noise; the student learns their predictions with noise (dropout of words and of units), so that it has to use more of a
review than its teachers did. The pseudo-labels are the mean probabilities of the teachers:

    targets = 1/N sum softmax(teacher_n(review))
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.files import atomic_write
from pipelines.common.runs import Run
from pipelines.sentiment import dataset
from pipelines.sentiment.config import Config
from pipelines.sentiment.evaluate import make_predictor, predict_logits
from pipelines.sentiment.model import Trained, load_trained
from pipelines.sentiment.preprocessing import Preprocessing
from pipelines.sentiment.reviews import Reviews

PSEUDO_LABELS_FILE = "pseudo_labels.npy"  # in the folder of a run: float32[unlabelled reviews, classes]


def load_teachers(config: Config, names: tuple[str, ...]) -> list[Trained]:
    """Loads the teachers of a student with labels of these names. Returns none if its run already has pseudo-labels.

    Raises:
        UserError: A teacher is not a trained run, is damaged, has other labels, or may have been trained on reviews
            that are held out here.
    """
    if (config.run / PSEUDO_LABELS_FILE).is_file():
        return []
    teachers = []
    for path in config.transfer.teachers:
        if not path.exists():
            raise UserError(f"the teacher {path} does not exist: train it first, or give other --teachers")
        teacher = load_trained(Run.open(path, "sentiment"))
        if sorted(teacher.names) != sorted(names):
            known = ", ".join(teacher.names)
            raise UserError(f"the teacher {path} has the labels {known}; expected {', '.join(names)}")
        dataset.refuse_other_split(config.data, teacher.config.data, f"the teacher {path}")
        teachers.append(teacher)
    return teachers


def load_unlabelled(config: Config, parts: dict[str, Reviews]) -> Reviews:
    """Loads the unlabelled reviews, without those that are held out in `parts`; UserError if there are none."""
    reviews = dataset.load_unlabelled(config.data, parts)
    if reviews is None or not len(reviews):
        raise UserError(
            f"--data {config.data.location} has no unlabelled reviews for the --teachers: expected a folder with"
            " unsup.csv, .tsv or .jsonl (.gz, .xz), or train/unsup/"
        )
    return reviews


def pseudo_label(run: Run, teachers: Sequence[Trained], reviews: Reviews, names: tuple[str, ...]):
    """Stores the mean probabilities of the teachers in the run, so that a resumed run does not need the teachers."""
    targets = np.mean([predict_probabilities(teacher, reviews, names) for teacher in teachers], axis=0)
    with atomic_write(run.path / PSEUDO_LABELS_FILE, "wb") as file:
        np.save(file, targets)


def predict_probabilities(teacher: Trained, reviews: Reviews, names: tuple[str, ...]) -> np.ndarray:
    """Returns float32[reviews, classes], the probabilities of the labels of these names."""
    texts = dataset.encode(reviews, teacher.preprocessing)
    logits = predict_logits(make_predictor(teacher.model), texts, teacher.config.data)
    return tf.nn.softmax(logits).numpy()[:, [teacher.names.index(name) for name in names]]


def encode_pseudo_labelled(
    run: Run, reviews: Reviews, preprocessing: Preprocessing, names: tuple[str, ...]
) -> dataset.LabelledTexts:
    """Encodes the unlabelled reviews, with the pseudo-labels that are stored in the run."""
    texts, path = dataset.encode(reviews, preprocessing), run.path / PSEUDO_LABELS_FILE
    try:
        targets = np.load(path)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it, to have them predicted again") from error
    if targets.shape != (len(texts), len(names)):
        raise UserError(
            f"{path} has the shape {targets.shape}, but the data {len(texts):,} unlabelled reviews and {len(names)}"
            " labels; expected the data that the run began with"
        )
    return dataset.LabelledTexts(**vars(texts), targets=targets)
