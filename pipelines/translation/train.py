"""Trains a run from scratch, fine-tunes it from another run, or resumes it.

A source sentence on its way to the loss:

    dataset.open_parts      finds the files of the parts; pairs.Stream reads their lines, with (common/data/) tables.py
    learn_vocabularies      learns the words or subwords of the training sentences (layers/tokenizer.py)
    dataset.encode_on_disk  text -> words (layers/text.py) or subwords -> ids, once, into the cache beside the run
    with_noise              changes a share of the sources in every epoch, if the run has --noise
    dataset.batches         int32[batch, time], sentences of similar length, padded; a target is beside its source
    make_loss               ids -> model.encode -> state -> model.decode, with the true target -> cross-entropy
"""

import dataclasses
import itertools
import sys

import numpy as np
import tensorflow as tf

from layers import losses
from layers.sampled_softmax import sampled_cross_entropy
from layers.teacher_forcing import scheduled_inputs, teacher_forcing, teacher_probability
from layers.text import END, START, Vocabulary
from layers.tokenizer import learn_vocabulary
from pipelines.common.config import flag
from pipelines.common.data import corpora, word_vectors
from pipelines.common.data.loading import streamed
from pipelines.common.data.splits import HELD_OUT, require_part
from pipelines.common.data.word_vectors import WordVectors
from pipelines.common.errors import UserError
from pipelines.common.files import atomic_write
from pipelines.common.runs import Run
from pipelines.common.training import strategies
from pipelines.common.training.checkpoints import Checkpoints
from pipelines.common.training.fine_tuning import copy_weights, refuse_changes
from pipelines.common.training.loop import Trainer
from pipelines.common.training.optimizers import ParameterGroup
from pipelines.common.training.options import TrainingOptions
from pipelines.common.training.prologue import train_run
from pipelines.translation import confidence, dataset
from pipelines.translation.config import Config, LossConfig, VectorsConfig
from pipelines.translation.decoder import make_decoder
from pipelines.translation.evaluate import Perplexity, bleu
from pipelines.translation.model import Trained, TranslationModel, load_trained, make_model
from pipelines.translation.noise import with_noise
from pipelines.translation.pairs import Pairs, Stream
from pipelines.translation.preprocessing import (
    SOURCE_VOCABULARY_FILE,
    TARGET_VOCABULARY_FILE,
    Preprocessing,
    load_vocabularies,
)

SUBWORD_PAIRS = 1_000_000  # that subwords are learned from, at most


def train(config: Config, preset: str | None = None) -> dict:
    """Starts or resumes a run, and returns its summary. A finished run is only reported."""
    return train_run("translation", config, preset, train_new, report)


def train_new(run: Run, config: Config) -> dict:
    """Trains a run, or resumes it. Its folder is created after the data was checked."""
    base = load_trained(Run.open(config.base, "translation")) if config.base else None
    if base:
        refuse_changes(config.model, base.config.model)
        refuse_changes(config.text, base.config.text, ("level", "lower_case"))
    pairs, held_out = dataset.open_parts(config.data)
    require_part("validation", held_out, config.data.location, HELD_OUT)
    # The target vocabulary is written last: if it exists, both files are complete.
    stored = (run.path / TARGET_VOCABULARY_FILE).is_file()
    vocabularies = load_vocabularies(run) if stored else learn_vocabularies(config, pairs, base)
    preprocessing = Preprocessing(*vocabularies, **vars(config.text))
    encoded = encode_parts(config, pairs, held_out["validation"], preprocessing, base)
    vectors = read_vectors(run, config, preprocessing)
    with run.create():
        for name, vocabulary in zip((SOURCE_VOCABULARY_FILE, TARGET_VOCABULARY_FILE), vocabularies, strict=True):
            with atomic_write(run.path / name) as file:
                file.write(vocabulary.to_text())
        return fit(run, config, encoded, held_out["validation"], preprocessing, base, vectors)


def learn_vocabularies(config: Config, pairs: Pairs | Stream, base: Trained | None) -> list[Vocabulary]:
    """Returns the vocabularies of source and target: in fine-tuning those of the base run, with new words appended.

    Words are counted in all pairs. Subwords are learned from SUBWORD_PAIRS of them at most, in equal distances.
    """
    count = sum(1 for _ in pairs)  # a bad row is found here, before anything is learned
    distance = -(-count // SUBWORD_PAIRS) if config.text.level == "subword" else 1
    vocabularies = []
    for number, side in enumerate(("source", "target")):
        field = f"{side}_vocabulary"
        texts = (pair[number] for pair in itertools.islice(pairs, 0, None, distance))
        try:
            found = learn_vocabulary(
                streamed(texts),
                size=getattr(config.vocabulary, field),
                min_count=config.vocabulary.min_count,
                level=config.text.level,
                lower_case=config.text.lower_case,
                max_characters=config.text.max_characters,
            )
        except ValueError as error:  # fewer subwords than characters
            raise UserError(f"{flag(field)} is {getattr(config.vocabulary, field)}, but {error}") from error
        vocabularies.append(getattr(base.preprocessing, side).vocabulary.extend(found) if base else found)
    return vocabularies


def read_vectors(run: Run, config: Config, preprocessing: Preprocessing) -> dict[str, WordVectors]:
    """Reads the files of word vectors, by side. None is read if the run has a checkpoint, which has the embeddings: the
    files may be gone."""
    if Checkpoints(run.checkpoints).files():
        return {}
    units = config.model.embedding_units
    words = {side: getattr(preprocessing, side).vocabulary.words for side in config.vectors.files}
    return {side: word_vectors.read(path, words[side], units) for side, path in config.vectors.files.items()}


def encode_parts(
    config: Config, train: Pairs | Stream, validation: Pairs, preprocessing: Preprocessing, base: Trained | None
) -> dict[str, dataset.Encoded]:
    """Converts the parts to token ids, those of training into the cache beside the run. In fine-tuning, mixes pairs of
    the base run into them."""
    cache = config.run.parent / corpora.CACHE
    encoded = {
        "train": dataset.encode_on_disk(config.data, train, preprocessing, cache),
        "validation": dataset.encode(validation, preprocessing, config.data.max_ratio),
    }
    for part, found in encoded.items():
        report_dropped(config, part, found)
    if base and config.data.mixture:
        data = dataclasses.replace(base.config.data, max_ratio=config.data.max_ratio)
        old = dataset.encode_on_disk(data, dataset.open_parts(data)[0], preprocessing, cache)
        encoded["train"] = dataset.mix(encoded["train"], old, config.data.mixture, config.training.seed)
    return encoded


def fit(
    run: Run,
    config: Config,
    encoded: dict[str, dataset.Encoded],
    validation: Pairs,
    preprocessing: Preprocessing,
    base: Trained | None,
    vectors: dict[str, WordVectors],
) -> dict:
    """Builds the model and trains it. The coverage of word vectors is reported."""
    options = config.training
    model = build(config, preprocessing)
    if base:
        copy_weights(model, base.model)
    elif not config.regularization.initial_range:  # which applies to all weights, this bias included
        targets = encoded["train"].targets
        model.softmax.initialize_bias(corpora.slices(targets.ids), len(targets))
    for number, (side, found) in enumerate(vectors.items()):
        getattr(model, f"{side}_embedding").set_weights([found.embeddings(options.seed + number)])
        print(found.coverage(getattr(encoded["train"], f"{side}s").ids), file=sys.stderr)
    trained = Trained(config, preprocessing, model)
    greedy = make_decoder([trained]).batched(sort_key=len, beam_size=1, length_penalty=0.0)
    perplexity = Perplexity(model)
    sources, references = validation.by_source()
    limits: dict = {
        "batch_pairs": config.data.batch_pairs,
        "batch_tokens": config.data.batch_tokens,
        "xla": options.xla,
    }

    def data(epoch: int) -> tf.data.Dataset:
        part = encoded["train"]
        if config.data.noise:
            part = with_noise(part, preprocessing, share=config.data.noise, seed=options.seed, epoch=epoch)
        return dataset.batches(part, seed=options.seed, epoch=epoch, **limits)

    def learn_confidence() -> dict:
        seen = base.seen if base else None
        sources = encoded["train"].texts
        learned = confidence.learn(Trained(config, preprocessing, model, seen=seen), sources, validation)
        confidence.save(run.path, learned)
        return {}

    def validate() -> dict[str, float]:
        loss = perplexity(encoded["validation"], config.data)
        translations, _ = greedy(sources)
        return {
            "val_loss": loss,
            "val_perplexity": float(np.exp(loss)),
            "val_bleu": bleu(translations, references).score,
        }

    return Trainer(
        model,
        run=run,
        options=options,
        data=data,
        loss=make_loss(model, config.loss, options),
        validate=validate,
        monitor=f"val_{config.monitor}",
        mode="max" if config.monitor == "bleu" else "min",
        parameter_groups=frozen_embeddings(model, config.vectors, options),
        at_end=learn_confidence,
    ).train()


def frozen_embeddings(
    model: TranslationModel, vectors: VectorsConfig, options: TrainingOptions
) -> list[ParameterGroup]:
    """Returns the group of the embeddings that are not trained in the first epochs; none if they never are."""
    if not vectors.freeze_vectors:
        return []
    embeddings = [getattr(model, f"{side}_embedding") for side in vectors.files]
    for embedding in embeddings:
        embedding.trainable = vectors.freeze_vectors < options.epochs
    weights = [weight for embedding in embeddings for weight in embedding.trainable_weights]
    return [ParameterGroup(weights, options.learning_rate, vectors.freeze_vectors)] if weights else []


def report_dropped(config: Config, part: str, found: dataset.Encoded):
    """Prints how many pairs were left out, and why, to standard error. Raises UserError if none is left."""
    all_pairs = len(found) + sum(found.dropped.values())
    if found.dropped:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in found.dropped.items())
        print(f"{part}: left out {reasons}, of {all_pairs:,} pairs", file=sys.stderr)
    if not len(found):
        raise UserError(
            f"--data {config.data.location} has no usable pair in the part {part}: all {all_pairs:,} were left out"
        )


def build(config: Config, preprocessing: Preprocessing) -> TranslationModel:
    """Returns the model, built with the strategy, precision and seed of the configuration."""
    return strategies.build(config.training, lambda: make_model(config, preprocessing))


def make_loss(model: TranslationModel, config: LossConfig, options: TrainingOptions):
    """Returns the function loss(batch, training) -> {name: (total, weight)}.

    `loss` is the cross-entropy in nats, with label smoothing, per token or per sentence. `nll` is per token, without
    smoothing; its exponential is the perplexity. With the sampled softmax, training returns only `loss`, without label
    smoothing.
    """

    def loss(batch, training: bool):
        inputs, targets, weights = teacher_forcing(batch["target"], START, END)
        weights *= batch["real"][:, None]
        state = model.encode(batch["source"], training)
        if training and config.teacher_forcing != "always":
            model.sampled_batches.assign_add(1)
            updates = (model.sampled_batches - 1) // options.accumulate
            inputs = sampled_inputs(model, config, updates, inputs, state)
        outputs, _ = model.decode(inputs, state, training)
        outputs = tf.reshape(outputs, [-1, model.readout_width])  # [batch * time, width]
        targets, weights = tf.reshape(targets, [-1]), tf.reshape(weights, [-1])
        tokens = tf.reduce_sum(weights)
        divisor = tf.reduce_sum(batch["real"]) if config.loss_per == "sentence" else tokens
        softmax_and_targets = (outputs, model.softmax.kernel, model.softmax.bias, targets, weights)
        if training and config.softmax == "sampled":
            samples = min(config.softmax_samples, model.softmax.words)
            total = sampled_cross_entropy(*softmax_and_targets, samples=samples, seed=model.random)
            return {"loss": (total, divisor)}
        total, nll = losses.cross_entropy(
            *softmax_and_targets,
            label_smoothing=config.label_smoothing,
            training=training,
            xla=options.xla,
        )
        return {"loss": (total, divisor), "nll": (nll, tokens)}

    return loss


def sampled_inputs(model: TranslationModel, config: LossConfig, updates, inputs, state):
    """Returns the decoder's inputs int32[batch, time], some of them replaced by predictions: scheduled sampling."""
    if config.teacher_forcing == "linear":
        slope = (1 - config.teacher_probability) / config.teacher_updates
        probability = teacher_probability("linear", updates, c=slope, eps=config.teacher_probability)
    elif config.teacher_forcing == "constant":
        probability = teacher_probability("constant", updates, k=config.teacher_probability)
    else:
        probability = teacher_probability("inverse_sigmoid", updates, k=config.teacher_updates)
    seed = tf.cast(model.random.next(), tf.int64)
    return scheduled_inputs(model.step, state, inputs, probability, seed)


def report(run: Run):
    """Prints one line about a finished run."""
    summary = run.summary
    scores = summary["scores"]
    print(
        f"{run.path}: finished, validation BLEU {scores['val_bleu']:.2f} and perplexity {scores['val_perplexity']:.2f}"
        f" after epoch {summary['best_epoch']} of {summary['epochs']}, {summary['seconds']:.0f} s"
    )
