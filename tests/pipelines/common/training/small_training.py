"""A small real training, as a program: python -m tests.pipelines.common.training.small_training RUN [options …]."""

import argparse
import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from layers.lstm import LSTM
from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.common.training import strategies, tbptt
from pipelines.common.training.loop import Trainer
from pipelines.common.training.options import TrainingOptions

WORDS = 40


def sentences(seed: int = 0):
    """Batches of 4 or 5 sentences of one length, int32[batch, time], labelled by their mean id."""
    draw = np.random.RandomState(seed)
    sizes = [(4 + i % 2, draw.randint(3, 9)) for i in range(14)]
    ids = [draw.randint(1, WORDS, size).astype("int32") for size in sizes]
    return [(x, (x.mean(axis=1) > WORDS / 2).astype("int32")) for x in ids]


def batches(epoch: int, pause: float = 0.0) -> tf.data.Dataset:
    content = sentences()

    def generate():
        for i in np.random.RandomState(epoch).permutation(len(content)):
            time.sleep(pause)
            yield content[i]

    spec = (tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32))
    return tf.data.Dataset.from_generator(generate, output_signature=spec)


def classifier(dropout: float = 0.3, recurrent: bool = False) -> keras.Model:
    """Without recurrence it is traced much faster, for tests of the loop alone."""
    middle = LSTM(6, dropout=dropout) if recurrent else keras.layers.GlobalAveragePooling1D()
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(WORDS, 8),
            keras.layers.Dropout(dropout),
            middle,
            keras.layers.Dense(6, activation="tanh"),
            keras.layers.Dense(2, dtype="float32"),
        ]
    )


def classification(model):
    """Returns the loss of a classifier, as Trainer takes it."""

    def loss(batch, training: bool):
        ids, labels = batch
        logits = model(ids, training=training)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        right = tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32) == labels, tf.float32)
        count = tf.cast(tf.shape(labels)[0], tf.float32)
        return {"loss": (tf.reduce_sum(losses), count), "accuracy": (tf.reduce_sum(right), count)}

    return loss


def validation(loss, pause: float = 0.0):
    measure = tf.function(lambda ids, labels: loss((ids, labels), False)["loss"], reduce_retracing=True)

    def validate():
        time.sleep(pause)
        sums = [measure(tf.constant(x), tf.constant(y)) for x, y in sentences(seed=1)]
        return {"val_loss": sum(float(t) for t, _ in sums) / sum(float(w) for _, w in sums)}

    return validate


def train_classifier(
    run, options: TrainingOptions, *, pause=0.0, data=None, dropout=0.3, recurrent=False, callbacks=()
):
    """Trains in an opened run; gives the model and the summary."""
    keras.utils.set_random_seed(options.seed)
    keras.config.set_dtype_policy(options.precision)
    with strategies.choose(options).scope():
        model = classifier(dropout, recurrent)
    loss = classification(model)
    summary = Trainer(
        model,
        run=run,
        options=options,
        data=data or (lambda epoch: batches(epoch, pause)),
        loss=loss,
        validate=validation(loss, 10 * pause),
        monitor="val_loss",
        mode="min",
        callbacks=callbacks,
    ).train()
    return model, summary


def train_recurrent(run, options: TrainingOptions, *, pause=0.0, k1=3, k2=7, callbacks=()):
    """Trains a vanilla RNN by TBPTT on sequences of unequal length; gives the model and the summary."""
    keras.utils.set_random_seed(options.seed)
    # A model of one time step, which `network` calls for every time step.
    inputs, state = keras.Input((2,)), keras.Input((5,))
    hidden, _ = keras.layers.SimpleRNNCell(5)(inputs, [state])
    model = keras.Model([inputs, state], [keras.layers.Dense(1)(hidden), hidden])

    def network(inputs, state, training):
        outputs = []
        for t in range(inputs.shape[1]):
            output, state = model([inputs[:, t], state], training=training)
            outputs.append(output)
        return tf.stack(outputs, axis=1), state

    def sequences():
        draw = np.random.RandomState(0)
        for length in (40, 17, 3, 25, 31):
            time.sleep(pause)
            x = draw.normal(size=(length, 2)).astype("float32")
            yield x, np.cumsum(x, axis=0)[:, :1] / 5

    def loss(outputs, targets, weights):
        errors = tf.reduce_sum(tf.square(outputs - targets), axis=-1)
        return {"loss": (tf.reduce_sum(errors * weights), tf.reduce_sum(weights))}

    tbptt_loss = tbptt.TruncatedBPTT(
        network,
        lambda rows: tf.zeros([rows, 5]),
        loss,
        k1=k1,
        k2=k2,
        batch_size=2,
    )
    summary = Trainer(
        model,
        run=run,
        options=options,
        data=lambda epoch: tbptt.dataset(sequences, k1=k1, k2=k2, batch_size=2).map(
            lambda batch: (tf.py_function(lambda: time.sleep(pause), [], []), batch)[1] if pause else batch
        ),
        loss=tbptt_loss,
        validate=lambda: {},
        monitor="loss",
        mode="min",
        callbacks=callbacks,
    ).train()
    return model, summary


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--tbptt", action="store_true")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds that each batch takes to come")
    parser.add_argument("--options", type=json.loads, default={})
    flags = parser.parse_args()
    options = TrainingOptions(**flags.options)
    try:
        with Run.start(flags.run, "small", options) as run:
            if flags.tbptt:
                train_recurrent(run, options, pause=flags.pause)
            else:
                train_classifier(run, options, pause=flags.pause, recurrent=True)
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
