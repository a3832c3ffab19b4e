"""Confidence of captions: the probability that the CIDEr-D of a caption reaches a bar."""

import pathlib
from collections.abc import Sequence

import numpy as np

from pipelines.captioning import dataset
from pipelines.captioning.decoder import feature_decoder
from pipelines.captioning.model import Trained
from pipelines.captioning.scores import scores_of_each
from pipelines.common import confidence
from pipelines.common.confidence import Confidence
from pipelines.common.errors import UserError
from pipelines.common.vision.feature_maps import FeatureMaps

BAR = 0.5  # CIDEr-D, about the mean of flickr8k-tuned
INPUTS = ("log_probability", "log_length")  # see `pipelines.common.serving.decoder.evidence_of`


def learn(trained: Trained, features: np.ndarray | FeatureMaps, references: list[list[str]]) -> Confidence:
    """Returns the confidence, fitted to the captions of images that the model was not trained on, found with the search
    of the run."""
    captions, evidence = feature_decoder(trained).batched(with_evidence=True)(features)
    reached = reaches(scores_of_each(captions, references))
    fitted = {"part": "validation", "images": len(captions), "reached": float(reached.mean())}
    return confidence.fit({name: evidence[name] for name in INPUTS}, reached, bar={"cider": BAR}, fitted=fitted)


def reaches(scores: Sequence[float] | np.ndarray) -> np.ndarray:
    """Returns whether the CIDEr-D of each caption reaches the bar, bool[captions]."""
    return np.asarray(scores) >= BAR


def learn_if_missing(run: pathlib.Path, trained: Trained) -> Confidence | None:
    """Returns the confidence of a run. If it has none, it is fitted to the validation part of its data, and stored; if
    that part cannot be read, standard error says so."""
    if trained.confidence is not None:
        return trained.confidence
    config = trained.config
    try:
        captioned = dataset.load_part(config.data, "validation")
        images = dataset.with_features(captioned, trained.model.encoder, config)
    except UserError as error:
        confidence.report_unfitted(run, error)
        return None
    found = learn(trained, images.features, list(images.captioned.references.values()))
    found.save(run)
    confidence.report_fitted(run)
    return found
