"""Evaluates a run: BLEU, CIDEr-D, ROUGE-L, exact matches and perplexity, with a nearest-neighbour baseline."""

import dataclasses
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from layers import losses
from layers.recurrent_decoder import repeat_rows
from layers.teacher_forcing import teacher_forcing
from layers.text import END, START
from pipelines.captioning import batches, dataset
from pipelines.captioning.captions import Captioned
from pipelines.captioning.confidence import BAR, learn_if_missing, reaches
from pipelines.captioning.config import Config, DataConfig
from pipelines.captioning.decoder import feature_decoder, feature_spec
from pipelines.captioning.distortions import DISTORTIONS
from pipelines.captioning.model import CaptioningModel, Trained, load_trained
from pipelines.captioning.options import Evaluate
from pipelines.captioning.preprocessing import Preprocessing
from pipelines.captioning.scores import all_scores, novel, scores_of_each
from pipelines.common.config import replace
from pipelines.common.errors import UserError
from pipelines.common.evaluation.reliability import report
from pipelines.common.evaluation.robustness import Column, Distortion, measure, show
from pipelines.common.files import write_json, write_tsv
from pipelines.common.pictures.contact_sheet import draw_contact_sheet
from pipelines.common.runs import Run
from pipelines.common.vision.feature_maps import FeatureMaps

ROW_IMAGES = 6  # in a row of the contact sheet
COLUMNS = (
    Column("cider", "CIDEr-D", places=3),
    *(Column(f"bleu{n}", f"BLEU-{n}", 100) for n in range(1, 5)),
)  # of the table of distortions


def evaluate(options: Evaluate) -> dict:
    """Prints a table of scores, and writes metrics.json, captions.tsv, contact_sheet.png and reliability.png into the
    run; with `robust` also a second table and robustness.png.

    The captions in the files, their confidence, and the captions of distorted images are of the last beam size. Returns
    the scores.
    """
    run, data, part = Run.open(options.run, "captioning"), options.data, options.split
    trained = load_trained(run)
    trained = dataclasses.replace(trained, confidence=learn_if_missing(run.path, trained))
    config = trained.config
    if data:
        config = replace(config, location=data, quoting=options.quoting or config.data.quoting)
    location = config.data.location
    penalty = config.search.length_penalty if options.length_penalty is None else options.length_penalty
    captioned = dataset.load_all(config.data, part) if data else dataset.load_part(config.data, part)
    images = dataset.with_features(captioned, trained.model.encoder, config)
    dataset.report_left_out(part, images)
    references = list(images.captioned.references.values())
    captions = dataset.encode(images.captioned, trained.preprocessing)
    if not len(captions):
        raise UserError(f"--data {location} has no usable caption to compute the perplexity of")
    loss = Perplexity(trained.model)(captions, images.features, config.data)
    scores: dict = {
        "data": location,
        "split": part,
        "images": len(images),
        "references": sum(map(len, references)),
        "left_out": len(images.left_out),
        "length_penalty": penalty,
        "perplexity": float(np.exp(loss)),
        "beams": {},
    }
    training = training_images(trained.config, trained.model)
    known = training.captioned.captions if training else []
    decoder = feature_decoder(trained)
    for beam_size in options.beam_size or (config.search.beam_size,):
        decode = decoder.batched(with_evidence=True, beam_size=beam_size, length_penalty=penalty)
        texts, evidence, scores["beams"][str(beam_size)] = score_beam(decode, images.features, references, known)
    if training:
        scores["nearest_neighbour"] = all_scores(nearest_captions(images.features, training), references)
    print(table(scores))
    write_json(run.metrics_file, scores)
    each = np.array(scores_of_each(texts, references))
    if "confidence" in evidence:
        scores["confidence"] = report(
            evidence["confidence"],
            reaches(each),
            lambda rows: float(each[rows].mean()),
            bar=f"CIDEr-D of at least {BAR}",
            name="CIDEr-D",
            png=run.path / "reliability.png",
            places=3,
        )
    if options.robust:
        scores["robust"] = measure_distortions(trained, images, decode, texts)
        show(scores["robust"], DISTORTIONS, COLUMNS, run.path / "robustness.png", f"{location}, {part}")
    write_json(run.metrics_file, scores)
    write_captions(run.path / "captions.tsv", images.captioned, texts, each)
    draw_sheet(run.path / "contact_sheet.png", images.captioned, texts, each, f"{location}, {part}")
    return scores


def score_beam(decode, features, references: list, known: list[str]) -> tuple[list[str], dict, dict]:
    """Returns the captions of images, their evidence (see confidence.py), and their scores.

    Args:
        decode: function of features that returns the captions and their evidence.
        references: the true captions of each image.
        known: the captions of training; without any, the share of novel captions is left out.
    """
    began = time.monotonic()
    texts, evidence = decode(features)
    seconds = time.monotonic() - began
    scores = all_scores(texts, references) | ({"novel": novel(texts, known)} if known else {})
    return texts, evidence, scores | {"images_per_second": len(texts) / seconds}


class Perplexity:
    """Computes the mean negative log-likelihood of the words and ends of captions in nats, without label smoothing."""

    def __init__(self, model: CaptioningModel):
        self.model = model
        specs = [feature_spec(model)]
        specs += [tf.TensorSpec([None, None, None], tf.int32), tf.TensorSpec([None, None], tf.float32)]
        self.total = tf.function(self.total, input_signature=specs, autograph=False)

    def total(self, features, target, real):
        """Returns (sum over all words, number of words)."""
        model = self.model
        rows, captions, time = tf.unstack(tf.shape(target))
        inputs, targets, weights = teacher_forcing(tf.reshape(target, [rows * captions, time]), START, END)
        weights *= tf.reshape(real, [-1, 1])
        state = repeat_rows(model.initial_state(features), captions)
        outputs, _ = model.decode(inputs, state)
        outputs = tf.reshape(outputs, [-1, model.readout_width])
        each = losses.negative_log_likelihood(
            outputs, model.softmax.kernel, model.softmax.bias, tf.reshape(targets, [-1])
        )
        return tf.reduce_sum(each * tf.reshape(weights, [-1])), tf.reduce_sum(weights)

    def __call__(self, captions: dataset.Captions, features: np.ndarray | FeatureMaps, data: DataConfig) -> float:
        sums = [
            self.total(batch["image"], batch["target"], batch["real"])
            for batch in batches.of_features(captions, features, data)
        ]
        return float(sum(total for total, _ in sums) / sum(words for _, words in sums))


class FeatureExtractor:
    """Computes the features of images with the current weights of the CNN: float32[images, units], or maps, which are
    written to a temporary file."""

    def __init__(self, model: CaptioningModel, preprocessing: Preprocessing):
        size = preprocessing.image_size
        self.preprocessing, self.spec = preprocessing, feature_spec(model)
        self.encode_images = tf.function(
            lambda pixels: model.encode_images(pixels),
            input_signature=[tf.TensorSpec([None, size, size, 3], tf.float32)],
            autograph=False,
        )

    def __call__(self, images: dataset.Images, change: Callable | None = None) -> np.ndarray | FeatureMaps:
        """`change` replaces the pixels of each file, see `Preprocessing.pixels_of_one`."""
        pixels = batches.pixel_rows(images, self.preprocessing, np.arange(len(images)), change).batch(64).prefetch(2)
        computed = (self.encode_images(tf.cast(batch, tf.float32)).numpy() for batch in pixels)
        if self.spec.shape.rank == 2:
            return np.concatenate(list(computed))
        with tempfile.TemporaryFile() as file:  # its content remains until the array is deleted
            shape = (len(images), *self.spec.shape[1:])
            maps = np.memmap(file, self.spec.dtype.as_numpy_dtype, "w+", shape=shape)
        start = 0
        for batch in computed:
            maps[start : start + len(batch)] = batch
            start += len(batch)
        return FeatureMaps(list(np.asarray(maps)))


# Distorted images -----------------------------------------------------------------------------------------------------


def measure_distortions(trained: Trained, images: dataset.Images, decode: Callable, texts: list[str]) -> dict:
    """Returns the scores of images and of their DISTORTIONS, by name.

    Args:
        decode: function of features that returns captions, and something else.
        texts: the captions of the images as they are.
    """
    references = list(images.captioned.references.values())
    features = FeatureExtractor(trained.model, trained.preprocessing)

    def score(distortion: Distortion) -> dict:
        captions, _ = decode(features(images, distortion.change))
        return all_scores(captions, references)

    return measure(all_scores(texts, references), DISTORTIONS, score)


# The baseline ---------------------------------------------------------------------------------------------------------


def training_images(config: Config, model: CaptioningModel) -> dataset.Images | None:
    """Returns the training images with their features; if they no longer exist, says so and returns None."""
    try:
        return dataset.with_features(dataset.load(config.data)["train"], model.encoder, config)
    except UserError as error:
        print(f"no baseline of the nearest training image, and no share of novel captions: {error}", file=sys.stderr)
        return None


def nearest_captions(features: np.ndarray | FeatureMaps, training: dataset.Images) -> list[str]:
    """Returns for each image of the features the first caption of the training image with the
    highest cosine similarity of the features."""
    similarity = unit_length(pooled(features)) @ unit_length(pooled(training.features)).T
    first_captions = [each[0] for each in training.captioned.references.values()]
    return [first_captions[number] for number in similarity.argmax(axis=1)]


def pooled(features: np.ndarray | FeatureMaps) -> np.ndarray:
    """Returns features as they are, and maps as their means over the positions: float32[images, features]."""
    if isinstance(features, FeatureMaps):
        return np.stack([each.mean(axis=0, dtype=np.float32) for each in features.maps])
    return features


def unit_length(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


# The results ----------------------------------------------------------------------------------------------------------


def write_captions(path: pathlib.Path, captioned: Captioned, texts: list[str], each: np.ndarray):
    """Writes a table of all captions, worst first."""
    rows = sorted(
        zip(each, captioned.references, texts, captioned.references.values(), strict=True), key=lambda row: row[0]
    )
    cells = [(f"{score:.4f}", image, text, " ||| ".join(references)) for score, image, text, references in rows]
    write_tsv(path, "cider image caption references", cells)


def draw_sheet(png: pathlib.Path, captioned: Captioned, texts: list[str], each: np.ndarray, title: str):
    """Draws some random images, the best and the worst ones, with their captions and references."""
    files, references = list(captioned.paths.values()), list(captioned.references.values())
    order = np.argsort(each, kind="stable")
    drawn = np.sort(np.random.default_rng(0).permutation(len(files))[:ROW_IMAGES])
    rows = {"drawn at random": drawn, "the best by CIDEr-D": order[::-1][:ROW_IMAGES], "the worst": order[:ROW_IMAGES]}
    draw_contact_sheet(
        {
            name: [(files[number], texts[number], references[number]) for number in numbers]
            for name, numbers in rows.items()
        },
        png,
        title=title,
    )


def table(scores: dict) -> str:
    """Returns the scores as a table to print."""
    lines = [
        f"{scores['data']}, {scores['split']}: {scores['images']:,} images, {scores['references']:,} references,"
        f" perplexity {scores['perplexity']:.2f}, length penalty {scores['length_penalty']:g}",
        "beam      BLEU-1 BLEU-2 BLEU-3 BLEU-4   CIDEr-D ROUGE-L  exact  novel  words  images/s",
    ]
    greedy = "1" if scores["length_penalty"] else "greedy"  # with a penalty, search with one hypothesis is not greedy
    rows = {greedy if beam == "1" else beam: row for beam, row in scores["beams"].items()}
    if "nearest_neighbour" in scores:
        rows["nearest"] = scores["nearest_neighbour"]
    for name, row in rows.items():
        bleu = " ".join(f"{100 * row[f'bleu{n}']:6.1f}" for n in range(1, 5))
        new = f"{row['novel']:6.1%}" if "novel" in row else "     -"
        speed = f"{row['images_per_second']:9.1f}" if "images_per_second" in row else "        -"
        lines.append(
            f"{name:<9} {bleu} {row['cider']:9.3f} {100 * row['rouge_l']:7.1f} {row['exact_match']:6.1%} {new}"
            f" {row['distinct_words']:6} {speed}"
        )
    return "\n".join([*lines, "(nearest: the first caption of the most similar training image)"])
