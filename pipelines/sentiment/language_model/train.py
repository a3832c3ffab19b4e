"""Trains a language model by truncated backpropagation through time."""

import tensorflow as tf

from layers import losses
from layers.sampled_softmax import sampled_cross_entropy
from layers.text import GENERATION, Vocabulary
from pipelines.common.data import corpora
from pipelines.common.data.loading import load_vocabulary
from pipelines.common.errors import UserError
from pipelines.common.files import atomic_write
from pipelines.common.runs import Run
from pipelines.common.training import strategies
from pipelines.common.training.loop import Trainer
from pipelines.common.training.prologue import train_run
from pipelines.common.training.tbptt import TruncatedBPTT
from pipelines.sentiment.evaluate import report_cut
from pipelines.sentiment.language_model.config import TASK, Config
from pipelines.sentiment.language_model.dataset import Streams, load
from pipelines.sentiment.language_model.evaluate import make_perplexity
from pipelines.sentiment.language_model.model import LanguageModel, make_model
from pipelines.sentiment.preprocessing import VOCABULARY_FILE, Preprocessing, learn_vocabulary
from pipelines.sentiment.reviews import all_texts
from pipelines.sentiment.word_ids import Texts, encode


def train(config: Config, preset: str | None = None) -> dict:
    """Trains the run of a configuration, resumes it, or reports it if it is finished. Returns its summary."""
    return train_run(TASK, config, preset, train_new, report)


def train_new(run: Run, config: Config) -> dict:
    """Trains a run, or resumes it. Its folder is created after the data was checked."""
    cache = config.run.parent / corpora.CACHE
    texts = load(config.data, config.text.max_characters, cache)
    if (run.path / VOCABULARY_FILE).is_file():
        vocabulary = load_vocabulary(run.path / VOCABULARY_FILE)
    else:
        vocabulary = learn_vocabulary(
            all_texts(texts["train"]), reserved=GENERATION, **vars(config.vocabulary), **vars(config.text)
        )
    preprocessing = Preprocessing(vocabulary, **vars(config.text))
    encoded = {part: encode(found, preprocessing, cache) for part, found in texts.items()}
    for part, found in encoded.items():
        if not len(found.ids):
            raise UserError(f"--data {config.data.location} has no word in the part {part}")
        report_cut(found, config.text)
    with run.create():
        with atomic_write(run.path / VOCABULARY_FILE) as file:
            file.write(vocabulary.to_text())
        return fit(run, config, encoded, vocabulary)


def fit(run: Run, config: Config, texts: dict[str, Texts], vocabulary: Vocabulary) -> dict:
    """Builds the model and trains it. Returns the summary of the run."""
    model = strategies.build(config.training, lambda: make_model(config, vocabulary))
    model.softmax.initialize_bias(corpora.slices(texts["train"].ids), len(texts["train"]))
    streams = make_streams(config, texts["train"])
    return Trainer(
        model,
        run=run,
        options=config.training,
        data=streams.epoch,
        loss=make_step(model, config),
        validate=make_perplexity(model, config, texts["validation"]),
        monitor="val_perplexity",
        mode="min",
    ).train()


def make_streams(config: Config, texts: Texts) -> Streams:
    """Makes the streams of a configuration."""
    windows = config.windows
    return Streams(
        texts,
        k1=windows.k1,
        k2=windows.k2,
        rows=windows.streams,
        objective=windows.objective,
        directions=("forward", "backward")[: 1 + config.model.bidirectional],
        carried=windows.carried,
        seed=config.training.seed if windows.shuffle else None,
    )


def make_step(model: LanguageModel, config: Config) -> TruncatedBPTT:
    """Makes the loss of a window, which carries the state of every stream."""
    windows = config.windows
    return TruncatedBPTT(
        model.outputs,
        model.initial_state,
        make_loss(model, config),
        k1=windows.k1,
        k2=windows.k2,
        batch_size=windows.streams,
    )


def make_loss(model: LanguageModel, config: Config):
    """Returns loss(outputs, targets, weights) -> name -> (total, weight): the cross-entropy of the words, in nats, over
    all directions; exact or sampled."""

    def loss(outputs, targets, weights):
        x = tf.concat([tf.reshape(outputs[d], [-1, model.readout_width]) for d in model.directions], axis=0)
        targets = tf.concat([tf.reshape(targets[d], [-1]) for d in model.directions], axis=0)
        weights = tf.tile(tf.reshape(weights, [-1]), [len(model.directions)])
        words = tf.reduce_sum(weights)
        softmax = (model.softmax.kernel, model.softmax.bias)
        if config.loss.softmax == "full":
            options: dict = {"xla": config.training.xla}
            total, _ = losses.cross_entropy(x, *softmax, targets, weights, **options)
            return {"loss": (total, words)}
        if not config.windows.carried and not config.training.xla:  # much of a window may have no target
            rows = tf.where(weights > 0)[:, 0]
            x, targets, weights = (tf.gather(values, rows) for values in (x, targets, weights))
        samples = min(config.loss.softmax_samples, model.vocabulary_size)
        options = {"samples": samples, "seed": model.random}
        total = sampled_cross_entropy(x, *softmax, targets, weights, **options)
        return {"loss": (total, words)}

    return loss


def report(run: Run):
    """Prints the scores of a finished run."""
    summary = run.summary
    print(
        f"{run.path}: finished, validation perplexity {summary['best_score']:.2f} after epoch {summary['best_epoch']}"
        f" of {summary['epochs']}, {summary['seconds']:.0f} s"
    )
