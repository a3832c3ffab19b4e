"""Self-training: classifiers label what nobody has labelled, and a new one learns from that and the true labels.

Xie et al. 2020, "Self-training with noisy student improves ImageNet classification": the teachers read the unlabelled
reviews without noise and give each label its probability; the student learns these with noise (dropout of words and of
units), so that it has to find more in a review than its teachers needed. Pseudo-labels are the mean over the teachers:

    targets = 1/N sum softmax(teacher_n(review))
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.files import atomic_write
from pipelines.common.runs import Run
from pipelines.sentiment import dataset, splits
from pipelines.sentiment.config import Config
from pipelines.sentiment.evaluate import make_predictor, predict_logits
from pipelines.sentiment.model import Trained, load_trained
from pipelines.sentiment.preprocessing import Preprocessing
from pipelines.sentiment.reviews import Reviews

TARGETS_FILE = "pseudo_labels.npy"  # in the run: float32[unlabelled reviews, classes]


def load_teachers(config: Config, names: tuple[str, ...]) -> list[Trained]:
    """The teachers of a student with labels of these names; none where its run keeps what they have said.

    Raises:
        UserError: a teacher is no trained run, is damaged, has other labels, or may have learned what is held out here.
    """
    if (config.run / TARGETS_FILE).is_file():
        return []
    teachers = []
    for path in config.teachers:
        if not path.exists():
            raise UserError(f"the teacher {path} does not exist: train it first, or give other --teachers")
        teacher = load_trained(Run.open(path, "sentiment"))
        if sorted(teacher.names) != sorted(names):
            known = ", ".join(teacher.names)
            raise UserError(f"the teacher {path} has the labels {known}; expected {', '.join(names)}")
        splits.refuse_other_split(config, teacher.config, f"the teacher {path}")
        teachers.append(teacher)
    return teachers


def load_unlabelled(config: Config, parts: dict[str, Reviews]) -> Reviews:
    """The unlabelled reviews of the config's data, apart from what is held out in `parts`; UserError: none."""
    found = dataset.load_unlabelled(config, parts)
    if found is None or not len(found):
        raise UserError(
            f"--data {config.data} has no unlabelled reviews, which --teachers are to label: expected a folder with"
            " unsup.csv, .tsv or .jsonl (.gz, .xz), or train/unsup/"
        )
    return found


def pseudo_label(run: Run, teachers: Sequence[Trained], reviews: Reviews, names: tuple[str, ...]):
    """Stores the teachers' mean probabilities in the run, so that going on needs no teacher."""
    targets = np.mean([probabilities(teacher, reviews, names) for teacher in teachers], axis=0)
    with atomic_write(run.path / TARGETS_FILE, "wb") as file:
        np.save(file, targets)


def probabilities(teacher: Trained, reviews: Reviews, names: tuple[str, ...]) -> np.ndarray:
    """float32[reviews, classes]: what a classifier says of the labels of these names."""
    texts = dataset.encode_texts(reviews, teacher.preprocessing)
    logits = predict_logits(make_predictor(teacher.model), texts, teacher.config)
    return tf.nn.softmax(logits).numpy()[:, [teacher.names.index(name) for name in names]]


def encode(run: Run, reviews: Reviews, preprocessing: Preprocessing, names: tuple[str, ...]) -> dataset.Encoded:
    """The unlabelled reviews as ids, with the pseudo-labels that the run keeps."""
    texts, path = dataset.encode_texts(reviews, preprocessing), run.path / TARGETS_FILE
    try:
        targets = np.load(path)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it, and the teachers answer anew") from error
    if targets.shape != (len(texts), len(names)):
        raise UserError(
            f"{path} has the shape {targets.shape}, but the data {len(texts):,} unlabelled reviews and {len(names)}"
            " labels; expected the data that the run began with"
        )
    return dataset.Encoded(texts.ids, texts.splits, texts.cut, targets)
