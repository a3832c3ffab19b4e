"""Measures the speed of training a translation model, at the size of tutorials and of Sutskever et al. 2014.

    python tests/benchmarks/bench_translation.py [--rounds 5] [--full]

The first table is a training step (forward, backward, clipping, Adam) of two layers of 512 units with the vocabularies
of the tutorials on Multi30k, without attention and with it: behind the recurrence (general) and inside it (additive).
If PyTorch is installed, the steps of the same models in its `nn.LSTM` run alternately in the same process. `--full`
runs the training step of the preset `sutskever2014` in a separate process: 384 million weights, batch 128, 30 words on
each side. It takes minutes and some 12 GB. Words of both sides are counted.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the command line does

import numpy as np
import tensorflow as tf

from layers import losses
from layers.text import END, START
from pipelines.common.training.options import TrainingOptions
from pipelines.common.training.updates import Updates
from pipelines.translation.config import Config, LossConfig, RegularizationConfig
from pipelines.translation.model import TranslationModel
from pipelines.translation.presets import PRESETS
from pipelines.translation.train import make_loss

try:
    import torch
except ImportError:
    torch = None

tf.get_logger().setLevel("ERROR")

BATCH, LENGTH = 128, 13  # sentences; words of a caption, on either side
TUTORIAL = {"source_vocabulary": 7853, "target_vocabulary": 5893, "layers": 2, "units": 512, "embedding_units": 256}


def make_batch(source_words: int, target_words: int, length: int) -> dict:
    draw = np.random.default_rng(0)
    shape = BATCH, length
    return {
        "source": tf.constant(draw.integers(4, source_words, shape), tf.int32),
        "target": tf.constant(draw.integers(4, target_words, shape), tf.int32),
        "rows": tf.range(BATCH, dtype=tf.int64),
        "real": tf.ones([BATCH]),
    }


def our_step(model: TranslationModel, config: Config, length: int):
    """Returns a function that trains on one batch and waits for the result."""
    batch = make_batch(model.arguments["source_vocabulary"], model.arguments["target_vocabulary"], length)
    model((batch["source"], batch["target"]))
    options = config.training
    updates = Updates(model, make_loss(model, config.loss, options), options, steps_per_epoch={0: 1000})
    updates.prepare(tf.nest.map_structure(lambda value: tf.TensorSpec([None] * value.shape.rank, value.dtype), batch))

    def step():
        updates.train_on_batch(batch, 1)
        return updates.metrics()

    return step


def torch_step(attention: str):
    """Returns a step with LSTMs, teacher forcing, cross-entropy, Adam and clipping at 1: without attention as in
    bentrevett's first notebook, but over the whole sequence at once, as anybody would write it who trains with teacher
    forcing alone; with attention, the same equations as ours.
    """
    sizes, functional = TUTORIAL, torch.nn.functional
    width, units, dropout = sizes["embedding_units"], sizes["units"], 0.5
    inside = attention == "additive"
    parts = torch.nn.ModuleDict(
        {
            "read": torch.nn.Embedding(sizes["source_vocabulary"], width),
            "said": torch.nn.Embedding(sizes["target_vocabulary"], width),
            "encoder": torch.nn.LSTM(width, units, sizes["layers"], dropout=dropout),
            "decoder": torch.nn.LSTM(width + (units if inside else 0), units, sizes["layers"], dropout=dropout),
            "out": torch.nn.Linear(units, sizes["target_vocabulary"]),
        }
    )
    if attention != "none":
        parts["W_m"] = torch.nn.Linear(units, units, bias=False)
        parts["readout"] = torch.nn.Linear(2 * units + width, units)
    if inside:
        parts["W_h"] = torch.nn.Linear(units, units, bias=False)
        parts["v"] = torch.nn.Linear(units, 1, bias=False)
    optimizer = torch.optim.Adam(parts.parameters())
    batch = make_batch(sizes["source_vocabulary"], sizes["target_vocabulary"], LENGTH)
    source = torch.tensor(batch["source"].numpy().T.astype(np.int64))
    target = batch["target"].numpy().T.astype(np.int64)
    ends = np.full((1, BATCH), START), np.full((1, BATCH), END)
    inputs = torch.tensor(np.concatenate([ends[0], target]))
    targets = torch.tensor(np.concatenate([target, ends[1]]))

    def attend(h, values, keys):
        """h [steps, batch, units], values and keys [batch, source, units] -> [steps, batch, units]."""
        if inside:
            scores = parts["v"](torch.tanh(parts["W_h"](h)[:, :, None] + keys))[..., 0].transpose(0, 1)
        else:
            scores = h.transpose(0, 1) @ keys.transpose(1, 2)  # [batch, steps, source]
        return (torch.softmax(scores, dim=-1) @ values).transpose(0, 1)

    def step():
        optimizer.zero_grad()
        memory, state = parts["encoder"](functional.dropout(parts["read"](source), dropout))
        e = functional.dropout(parts["said"](inputs), dropout)
        if attention != "none":
            values = memory.transpose(0, 1)
            keys = parts["W_m"](values)
        if inside:
            outputs, contexts = [], []
            context = attend(state[0][-1:], values, keys)
            for each in e:
                h, state = parts["decoder"](torch.cat([each[None], context], dim=-1), state)
                context = attend(h, values, keys)
                outputs.append(h)
                contexts.append(context)
            h, context = torch.cat(outputs), torch.cat(contexts)
        else:
            h, _ = parts["decoder"](e, state)
            context = attend(h, values, keys) if attention != "none" else None
        if context is not None:
            h = torch.tanh(parts["readout"](torch.cat([h, context, e], dim=-1)))
        logits = parts["out"](functional.dropout(h, dropout))
        loss = functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parts.parameters(), 1)
        optimizer.step()
        return loss.item()

    return step


def tutorials(rounds: int):
    config = Config(
        regularization=RegularizationConfig(dropout=0.5, embedding_dropout=0.5),
        loss=LossConfig(label_smoothing=0.0),
        training=TrainingOptions(clip_norm=1.0),
    )
    steps = {}
    for attention in ("none", "general", "additive"):
        inside = attention == "additive"
        attends = {"attention": attention, "attention_input": inside}
        model = TranslationModel(**TUTORIAL, **attends, dropout=0.5, embedding_dropout=0.5, reverse=False, seed=1)
        name = f"{attention}, inside the recurrence" if inside else attention
        steps[name, "ours"] = our_step(model, config, LENGTH)
        if torch:
            steps[name, "PyTorch"] = torch_step(attention)
    seconds = {name: [] for name in steps}
    for number in range(rounds + 2):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if number >= 2:  # traced, warm
                seconds[name].append(time.perf_counter() - began)
    print(f"2 layers of 512, batch {BATCH}, {LENGTH} words on each side, Adam; medians of {rounds} rounds\n")
    print("| attention | | seconds a step | words/s |\n| --- | --- | --- | --- |")
    for (attention, name), times in seconds.items():
        second = statistics.median(times)
        print(f"| {attention} | {name} | {second:.2f} | {2 * BATCH * LENGTH / second:,.0f} |")
    if not torch:
        print("\nPyTorch is not installed, so it was not measured.")


# The size of the paper ------------------------------------------------------------------------------------------------


def full_size():
    """Measures the training step of the preset sutskever2014, and its recurrent layers and softmax separately."""
    from tests.benchmarks.timing import machine_flops

    config, length = PRESETS["sutskever2014"][1], 30
    peak = machine_flops()
    model = TranslationModel(
        source_vocabulary=config.vocabulary.source_vocabulary,
        target_vocabulary=config.vocabulary.target_vocabulary,
        **vars(config.model),
        **vars(config.regularization),
        seed=1,
    )
    step = our_step(model, config, length)
    weights = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    print(f"{weights / 1e6:.0f} million weights; one large float32 product: {peak / 1e9:.0f} GFLOP/s")
    seconds = [timed(step) for _ in range(3)][1:]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    words = 2 * BATCH * length
    print(f"training step: {min(seconds):.1f} s, {words / min(seconds):,.0f} words/s, peak memory {memory:.1f} GiB")
    rows, units = BATCH * (length + 1), config.model.units
    batch = make_batch(config.vocabulary.source_vocabulary, config.vocabulary.target_vocabulary, length)
    inputs = tf.pad(batch["target"], [[0, 0], [1, 0]], constant_values=START)
    layers = [layer for side in (model.encoder, model.decoder) for layer in side]
    variables = [weight.value for layer in layers for weight in layer.trainable_weights]

    @tf.function(autograph=False)
    def recurrent():
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(model.decode(inputs, model.encode(batch["source"], True), True)[0])
        return [tf.reduce_sum(gradient) for gradient in tape.gradient(total, variables)]

    read = tf.random.normal([rows, units])
    targets = tf.reshape(tf.pad(batch["target"], [[0, 0], [0, 1]], constant_values=END), [-1])

    @tf.function(autograph=False)
    def softmax():
        with tf.GradientTape() as tape:
            tape.watch(read)
            total, _ = losses.cross_entropy(read, model.softmax.kernel, model.softmax.bias, targets)
        return [
            tf.reduce_sum(tf.convert_to_tensor(part))
            for part in tape.gradient(total, [read, model.softmax.own_kernel.value])
        ]

    steps = length + length + 1
    for name, function, flops in (
        ("recurrent layers", recurrent, 3 * 2 * BATCH * steps * config.model.layers * 8 * units * units),
        ("softmax", softmax, 3 * 2 * rows * units * config.vocabulary.target_vocabulary),
    ):
        second = min([timed(function) for _ in range(3)][1:])
        print(f"{name}: {second:.1f} s, {flops / second / 1e9:.0f} GFLOP/s, {flops / second / peak:.0%} of the product")


def timed(function) -> float:
    began = time.perf_counter()
    tf.nest.map_structure(lambda value: value.numpy() if hasattr(value, "numpy") else value, function())
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--full", action="store_true", help="also the size of the paper, in a separate process")
    parser.add_argument("--only-full", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_full:
        return full_size()
    tutorials(options.rounds)
    if options.full:
        print("\nThe size of Sutskever et al. 2014", flush=True)
        subprocess.run([sys.executable, __file__, "--only-full"], check=True)


if __name__ == "__main__":
    main()
