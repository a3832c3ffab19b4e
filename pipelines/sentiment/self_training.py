"""Self-training: classifiers label what nobody has labelled, and a new one learns from that and the true labels.

Xie et al. 2020, "Self-training with noisy student improves ImageNet classification": the teachers read the unlabelled
reviews without noise and give each label its probability; the student learns these with noise (dropout of words and of
units), so that it has to find more in a review than its teachers needed. A target is the mean of their answers:

    targets = 1/N sum softmax(teacher_n(review))
"""

import pathlib

import numpy as np
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.runs import Run, atomic_write
from pipelines.sentiment import dataset, warm_start
from pipelines.sentiment.config import Config
from pipelines.sentiment.evaluate import make_predictor, predict_logits
from pipelines.sentiment.model import load_names, load_trained
from pipelines.sentiment.preprocessing import Preprocessing
from pipelines.sentiment.reviews import Reviews

TARGETS_FILE = "teachers.npy"  # in the run: float32[unlabelled reviews, classes]


def load_unlabelled(config: Config, parts: dict[str, Reviews], names: tuple[str, ...]) -> Reviews:
    """The unlabelled reviews of the config's data, for a student with labels of these names.

    Raises:
        UserError: there are none, or a teacher is no trained run, has other labels, or may have learned what is held
            out here.
    """
    if not (config.run / TARGETS_FILE).is_file():
        for path in config.teachers:
            refuse_other_teacher(config, Run.open(path, "sentiment").require_weights(), names)
    found = dataset.load_unlabelled(config, parts)
    if found is None or not len(found):
        raise UserError(
            f"--data {config.data} has no unlabelled reviews, which --teachers are to label: expected a folder with"
            " unsup.csv, .tsv or .jsonl (.gz, .xz), or train/unsup/"
        )
    return found


def refuse_other_teacher(config: Config, teacher: Run, names: tuple[str, ...]):
    """UserError when a run cannot label reviews for this config."""
    known = load_names(teacher)
    if sorted(known) != sorted(names):
        raise UserError(f"the teacher {teacher.path} has the labels {', '.join(known)}; expected {', '.join(names)}")
    warm_start.refuse_other_split(config, Config.from_json(teacher.config), f"the teacher {teacher.path}")


def label(
    run: Run, config: Config, reviews: Reviews, preprocessing: Preprocessing, names: tuple[str, ...]
) -> dataset.Encoded:
    """The reviews as ids, with the teachers' answers, which the run keeps: going on needs no teacher."""
    texts = dataset.encode_texts(reviews, preprocessing)
    path = run.path / TARGETS_FILE
    if not path.is_file():
        targets = np.mean([answers(teacher, reviews, names) for teacher in config.teachers], axis=0)
        with atomic_write(path, "wb") as file:
            np.save(file, targets)
    try:
        targets = np.load(path)
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it, and the teachers answer anew") from error
    if len(targets) != len(texts):
        raise UserError(
            f"{path} has answers to {len(targets):,} reviews, but --data {config.data} has {len(texts):,} unlabelled"
            " ones; expected the data that the run began with"
        )
    return dataset.Encoded(texts.ids, texts.splits, texts.cut, targets)


def answers(teacher: pathlib.Path, reviews: Reviews, names: tuple[str, ...]) -> np.ndarray:
    """float32[reviews, classes]: the probabilities that a run gives to the labels of these names."""
    trained = load_trained(Run.open(teacher, "sentiment"))
    texts = dataset.encode_texts(reviews, trained.preprocessing)
    logits = predict_logits(make_predictor(trained.model), texts, trained.config)
    return tf.nn.softmax(logits).numpy()[:, [trained.names.index(name) for name in names]]
