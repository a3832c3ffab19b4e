"""Self-training: trained classifiers, the teachers, label the unlabelled reviews for a new one, the student.

Xie et al. 2020, "Self-training with noisy student improves ImageNet classification": the teachers predict without
noise; the student learns their predictions with noise (dropout of words and of units), so that it has to use more of a
review than its teachers did. The pseudo-labels are the mean probabilities of the teachers:

    targets = 1/N sum softmax(teacher_n(review))

With --label-pieces the teachers also read the pieces of all training reviews (pieces.py), those of every epoch before
the first one begins. They learned from whole reviews, and are too certain of short texts: each is first calibrated by
length on pieces of the validation reviews.
"""

import math
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from pipelines.common import metrics
from pipelines.common.config import flag
from pipelines.common.data import corpora
from pipelines.common.errors import UserError
from pipelines.common.files import atomic_write
from pipelines.common.runs import Run
from pipelines.common.training import calibration
from pipelines.sentiment import dataset
from pipelines.sentiment.augmentation import Augmentation
from pipelines.sentiment.config import Config
from pipelines.sentiment.evaluate import make_predictor, predict_logits
from pipelines.sentiment.model import Trained, load_trained
from pipelines.sentiment.pieces import take
from pipelines.sentiment.reviews import Reviews
from pipelines.sentiment.validation import Validation, length_weights
from pipelines.sentiment.word_ids import Texts, encode, encode_labelled

# In the folder of a run:
PSEUDO_LABELS_FILE = "pseudo_labels.npy"  # float32[unlabelled reviews, classes]
PIECE_LABELS_FILE = "piece_labels.npy"  # float32[epochs, training reviews, classes]; 0 where the review stays whole


def load_teachers(config: Config, names: tuple[str, ...]) -> list[Trained]:
    """Loads the teachers of a student with labels of these names. Returns none if its run already has their labels.

    Raises:
        UserError: A teacher is not a trained run, is damaged, has other labels, or may have been trained on reviews
            that are held out here; or it shall label pieces, but splits reviews into other words.
    """
    labels = [PSEUDO_LABELS_FILE, *([PIECE_LABELS_FILE] if config.transfer.label_pieces else [])]
    if all((config.run / name).is_file() for name in labels):
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
        for field, value in vars(config.text).items() if config.transfer.label_pieces else ():
            other = getattr(teacher.config.text, field)
            if value != other:
                raise UserError(
                    f"{flag(field)} is {value}, but {other} in the teacher {path}: expected the same with"
                    " --label-pieces, so that both see the same words"
                )
        teachers.append(teacher)
    return teachers


def find_unlabelled(config: Config, parts: dict[str, Reviews]) -> Reviews:
    """Returns the unlabelled reviews, without those that are held out in `parts`; UserError if there are none."""
    reviews = dataset.find_unlabelled(config.data, parts, config.run.parent / corpora.CACHE)
    if reviews is None or not len(reviews):
        raise UserError(
            f"--data {config.data.location} has no unlabelled reviews for the --teachers: expected a folder with"
            " unsup.csv, .tsv or .jsonl (.gz, .xz), or train/unsup/"
        )
    return reviews


def pseudo_label(run: Run, teachers: Sequence[Trained], reviews: Reviews, names: tuple[str, ...]):
    """Stores the mean probabilities of the teachers in the run, so that a resumed run does not need the teachers."""
    cache = run.path.parent / corpora.CACHE
    targets = np.mean([predict_probabilities(teacher, reviews, names, cache) for teacher in teachers], axis=0)
    with atomic_write(run.path / PSEUDO_LABELS_FILE, "wb") as file:
        np.save(file, targets)


def predict_probabilities(
    teacher: Trained, reviews: Reviews, names: tuple[str, ...], cache: pathlib.Path | None = None
) -> np.ndarray:
    """Returns float32[reviews, classes], the probabilities of the labels of these names; see `encode`."""
    texts = encode([reviews], teacher.preprocessing, cache)
    logits = predict_logits(make_predictor(teacher.model), texts, teacher.config.data)
    return tf.nn.softmax(logits).numpy()[:, [teacher.names.index(name) for name in names]]


def pseudo_labels(run: Run, reviews: Reviews, names: tuple[str, ...]) -> np.ndarray:
    """Returns the pseudo-labels that are stored in the run, of the unlabelled reviews: float32[reviews, classes]."""
    path = run.path / PSEUDO_LABELS_FILE
    targets = read_labels(path)
    if targets.shape != (len(reviews), len(names)):
        raise UserError(
            f"{path} has the shape {targets.shape}, but the data {len(reviews):,} unlabelled reviews and {len(names)}"
            " labels; expected the data that the run began with"
        )
    return targets


def read_labels(path: pathlib.Path) -> np.ndarray:
    """Returns labels of teachers, mapped from their file; UserError if it is damaged."""
    try:
        return np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it, to have them predicted again") from error


def piece_beliefs(
    run: Run,
    teachers: Sequence[Trained],
    reviews: dict[str, Reviews],
    augmentation: Augmentation,
    config: Config,
    names: tuple[str, ...],
) -> np.ndarray:
    """Returns the mean probabilities of the teachers for the pieces of every epoch, which the run stores:
    float32[epochs, training reviews, classes].

    Args:
        teachers: none if the run has them already.
        reviews: the parts; the training reviews are those of "train", then the "unlabelled" ones.
        augmentation: draws the pieces.
    """
    path = run.path / PIECE_LABELS_FILE
    shape = (math.ceil(config.training.epochs), len(augmentation.texts), len(names))
    if teachers:
        found = np.zeros(shape, np.float32)
        training, cache = [reviews["train"], reviews["unlabelled"]], run.path.parent / corpora.CACHE
        for teacher in teachers:
            texts = encode(training, teacher.preprocessing, cache)
            predict = piece_predictor(teacher, reviews["validation"], config)
            columns = [teacher.names.index(name) for name in names]
            for epoch in range(len(found)):
                spans = augmentation.draw(epoch)
                if spans.is_piece.any():
                    probabilities = predict(take(texts, spans.rows(spans.is_piece)))
                    found[epoch, spans.is_piece] += probabilities[:, columns] / len(teachers)
        with atomic_write(path, "wb") as file:
            np.save(file, found)
    found = read_labels(path)
    if found.shape != shape:
        raise UserError(
            f"{path} has the shape {found.shape}, but the training {shape[0]} epochs, {shape[1]:,} reviews and"
            f" {shape[2]} labels; expected the data that the run began with"
        )
    return found


def piece_predictor(teacher: Trained, reviews: Reviews, config: Config) -> Callable[[Texts], np.ndarray]:
    """Returns the function from pieces to the probabilities float32[pieces, classes] of a teacher, calibrated by length
    on validation reviews and pieces of them."""
    texts = encode_labelled(reviews, teacher.preprocessing, teacher.names)
    held_out = Validation(teacher.model, texts, teacher.preprocessing.vocabulary, config, with_pieces=True)
    fitted = held_out.fit_lengths()

    def predict(pieces: Texts) -> np.ndarray:
        logits = predict_logits(held_out.predictor, pieces, config.data)
        return metrics.softmax(calibration.scaled(length_weights(pieces), logits, *fitted)).astype(np.float32)

    return predict
