import math
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from layers.losses import cross_entropy, negative_log_likelihood
from layers.sampled_softmax import log_uniform_candidates, sampled_cross_entropy
from tests.layers.oracles import error, errors

ONE_ROW = 1  # block_bytes: as few rows in a block as are allowed


def draw(rows=11, units=3, words=7, *, bias=True, dtype=tf.float64, seed=0, spread=1.0):
    """(hidden, kernel, bias or None), targets, weights: random numbers, some of the weights zero."""
    random = np.random.default_rng(seed)
    parameters = (
        tf.constant(random.normal(size=[rows, units]), dtype),
        tf.constant(random.normal(size=[words, units]) * spread, dtype),
        tf.constant(random.normal(size=[words]), dtype) if bias else None,
    )
    targets = tf.constant(random.integers(0, words, rows), tf.int32)
    return parameters, targets, tf.constant(random.choice([0, 0, 1, 2.5], size=rows), dtype)


def plain(hidden, kernel, bias, targets, weights=None, *, label_smoothing=0.0):
    """The definition: (total, nll), by way of all the logits."""
    z = tf.matmul(hidden, kernel, transpose_b=True)
    z = z if bias is None else z + bias
    words = z.shape[1]
    right = tf.one_hot(targets, words, dtype=z.dtype)
    q = right * (1 - label_smoothing) + label_smoothing / words
    weights = tf.ones_like(z[:, 0]) if weights is None else weights
    return tuple(tf.reduce_sum(weights * tf.nn.softmax_cross_entropy_with_logits(p, z)) for p in (q, right))


def values_and_gradients(loss, parameters, *arguments, mode="eager", scale=1.0, **options):
    """[total, nll, gradients of the scaled total], flat."""
    parameters = [value for value in parameters if value is not None]

    def run(parameters):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            found = loss(*parameters, *[None] * (3 - len(parameters)), *arguments, **options)
            total = found[0] if isinstance(found, tuple) else found
            scaled = total * scale
        return found, tape.gradient(scaled, parameters, unconnected_gradients="zero")

    if mode != "eager":
        run = tf.function(run, jit_compile=mode == "xla", autograph=False)
    return [tf.convert_to_tensor(value) for value in tf.nest.flatten(run(parameters))]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equals_the_plain_loss(bias, weighted, smoothing):
    parameters, targets, weights = draw(bias=bias)
    arguments = [parameters, targets, weights if weighted else None]
    options = {"label_smoothing": smoothing}
    expected = values_and_gradients(plain, *arguments, scale=3.0, **options)
    found = values_and_gradients(cross_entropy, *arguments, scale=3.0, block_bytes=ONE_ROW, **options)
    assert errors(found, expected) < 1e-12


@pytest.mark.parametrize(("mode", "weighted"), [("graph", False), ("graph", True), ("xla", True)])
def test_equals_the_plain_loss_when_compiled(mode, weighted):
    parameters, targets, weights = draw()
    arguments = [parameters, targets, weights if weighted else None]
    options = {"label_smoothing": 0.1}
    expected = values_and_gradients(plain, *arguments, **options)
    options |= {"mode": mode, "xla": mode == "xla", "block_bytes": ONE_ROW}
    assert errors(values_and_gradients(cross_entropy, *arguments, **options), expected) < 1e-12


@pytest.mark.parametrize("xla", [False, True])
def test_number_of_rows_unknown_when_traced(xla):
    """As in a pipeline: the rows are the steps of a batch of any size."""
    parameters, targets, weights = draw(rows=12)
    weights = None if xla else weights

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, 3], tf.float64), tf.TensorSpec([None, None], tf.int32)],
        jit_compile=xla,
        autograph=False,
    )
    def run(hidden, targets):
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            rows = tf.reshape(hidden, [-1, 3]), *parameters[1:], tf.reshape(targets, [-1])
            total, _ = cross_entropy(*rows, weights, xla=xla, block_bytes=ONE_ROW)
        return total, tape.gradient(total, hidden)

    total, gradient = run(tf.reshape(parameters[0], [3, 4, 3]), tf.reshape(targets, [3, 4]))
    expected = values_and_gradients(plain, parameters, targets, weights)
    assert error(total, expected[0]) < 1e-12
    assert error(tf.reshape(gradient, [12, 3]), expected[2]) < 1e-12


@pytest.mark.extra
@settings(max_examples=15, deadline=None)
@given(
    rows=st.integers(0, 13),
    units=st.integers(1, 3),
    words=st.integers(2, 9),
    smoothing=st.sampled_from([0.0, 0.3]),
    block_bytes=st.integers(1, 700),  # down to a row, up to all rows
    xla=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_shape(rows, units, words, smoothing, block_bytes, xla, seed):
    parameters, targets, weights = draw(rows, units, words, seed=seed)
    options = {"label_smoothing": smoothing}
    expected = values_and_gradients(plain, parameters, targets, weights, **options)
    options |= {"block_bytes": block_bytes, "xla": xla}
    assert errors(values_and_gradients(cross_entropy, parameters, targets, weights, **options), expected) < 1e-11
    found = negative_log_likelihood(*parameters, targets, block_bytes=block_bytes)
    assert found.shape == [rows]
    assert error(tf.reduce_sum(found * weights), expected[1]) < 1e-11


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_only_word_of_a_vocabulary_has_no_loss(smoothing):
    """The sums of terms of some units cancel out, except for the rounding of the terms: there is no relative error."""
    parameters, targets, weights = draw(8, 2, 1, seed=6)
    for value in values_and_gradients(cross_entropy, parameters, targets, weights, label_smoothing=smoothing):
        np.testing.assert_allclose(value, tf.zeros_like(value), rtol=0, atol=1e-14)


def test_float32_with_blocks_of_several_rows():
    parameters, targets, weights = draw(200, 16, 500, dtype=tf.float32)
    arguments = [parameters, targets, weights]
    exact = [[tf.cast(value, tf.float64) for value in parameters], targets, tf.cast(weights, tf.float64)]
    expected = values_and_gradients(plain, *exact, label_smoothing=0.1)
    for block_bytes in (ONE_ROW, 500 * 4 * 64, 2**30):
        found = values_and_gradients(cross_entropy, *arguments, label_smoothing=0.1, block_bytes=block_bytes)
        assert {value.dtype for value in found} == {tf.float32}
        assert errors(found, expected) < 1e-5


@pytest.mark.parametrize(("mode", "xla"), [("eager", False), ("eager", True), ("graph", False), ("xla", True)])
def test_no_row_counts(mode, xla):
    parameters, targets, weights = draw()
    options = {"label_smoothing": 0.1, "mode": mode, "xla": xla}
    found = values_and_gradients(cross_entropy, parameters, targets, 0 * weights, **options)
    for value in found:
        np.testing.assert_array_equal(value, tf.zeros_like(value))


@pytest.mark.parametrize("training", [False, True])
def test_no_row_counts_and_their_number_is_unknown(training):
    """As in a pipeline whose batch holds padding alone, or nothing at all."""
    (_, *softmax), _, _ = draw()
    steps = tf.TensorSpec([None], tf.float64)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float64), tf.TensorSpec([None], tf.int32), steps])
    def run(hidden, targets, weights):
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            total, nll = cross_entropy(hidden, *softmax, targets, weights, training=training)
        return total, nll, tape.gradient(total, hidden) if training else tf.zeros_like(hidden)

    for rows in (0, 4):
        total, nll, gradient = run(
            tf.ones([rows, 3], tf.float64), tf.ones([rows], tf.int32), tf.zeros([rows], tf.float64)
        )
        assert (float(total), float(nll), gradient.shape) == (0, 0, (rows, 3))
        assert not gradient.numpy().any()


def test_rows_of_padding_are_left_out():
    (hidden, *rest), targets, _ = draw(rows=8)
    weights = tf.constant([1.0, 0, 1, 0, 0, 1, 0, 0], tf.float64)
    poisoned = tf.where(weights[:, tf.newaxis] > 0, hidden, np.nan)  # not even 0 * NaN comes to pass
    expected = values_and_gradients(plain, (hidden, *rest), targets, weights)
    assert errors(values_and_gradients(cross_entropy, (poisoned, *rest), targets, weights), expected) < 1e-12


def test_blocks_of_padding_are_left_out_under_xla():
    """Outside of XLA the id out of range would be noticed."""
    parameters, targets, _ = draw(rows=9)
    weights = tf.constant([1.0, 0, 1, 0, 0, 1, 0, 0, 0], tf.float64)
    expected = values_and_gradients(plain, parameters, targets, weights)
    poisoned = tf.where(weights > 0, targets, 99)
    options = {"block_bytes": ONE_ROW, "xla": True}
    assert errors(values_and_gradients(cross_entropy, parameters, poisoned, weights, **options), expected) < 1e-12
    with pytest.raises(tf.errors.InvalidArgumentError, match="99"):
        cross_entropy(*parameters, poisoned, tf.ones_like(weights), **options)


def test_logits_of_any_size():
    parameters, targets, weights = draw(spread=1e4)
    arguments = [parameters, targets, weights]
    expected = values_and_gradients(plain, *arguments, label_smoothing=0.1)
    assert expected[0] > 1e4
    assert errors(values_and_gradients(cross_entropy, *arguments, label_smoothing=0.1), expected) < 1e-12
    narrow = [tf.cast(value, tf.float32) for value in parameters]
    found = values_and_gradients(cross_entropy, narrow, targets, weights, label_smoothing=0.1)
    assert errors(found[:2], expected[:2]) < 1e-5


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_half_precision(dtype):
    """hidden in 16 bits, the weights in 32, as with Keras's mixed precision."""
    (hidden, kernel, bias), targets, weights = draw(40, 8, 50, dtype=tf.float32)
    hidden, kernel = tf.cast(hidden, dtype), tf.cast(tf.cast(kernel, dtype), tf.float32)
    options = {"label_smoothing": 0.1}
    exact = [tf.cast(value, tf.float64) for value in (hidden, kernel, bias, weights)]
    expected = values_and_gradients(plain, exact[:3], targets, exact[3], **options)
    found = values_and_gradients(cross_entropy, (hidden, kernel, bias), targets, weights, **options)
    assert [value.dtype for value in found] == [tf.float32, tf.float32, dtype, tf.float32, tf.float32]
    assert errors(found, expected) < (0.02 if dtype == tf.bfloat16 else 0.002)


def test_float16_keeps_small_gradients():
    """p = 2e-9 is zero in float16; its share of the gradient is not."""
    kernel = tf.constant([[0.0], [-20.0]])
    found = values_and_gradients(cross_entropy, (tf.ones([1, 1], tf.float16), kernel, None), [0], scale=1024.0)
    np.testing.assert_allclose(found[3][1, 0], 1024 * np.exp(-20), rtol=1e-2)
    np.testing.assert_allclose(found[2], [[-20 * 1024 * np.exp(-20)]], rtol=1e-2)


def test_reads_keras_variables():
    parameters, targets, weights = draw(dtype=tf.float32)
    embedding = keras.layers.Embedding(7, 3)
    embedding.build()
    embedding.set_weights([parameters[1].numpy()])
    with tf.GradientTape() as tape:
        total, _ = cross_entropy(parameters[0], embedding.embeddings, parameters[2], targets, weights)
    found = tape.gradient(total, embedding.embeddings.value)
    expected = values_and_gradients(plain, parameters, targets, weights)
    assert errors([total, found], [expected[0], expected[3]]) < 1e-5


# Without gradients ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["eager", "xla"])
def test_values_alone(mode):
    parameters, targets, weights = draw()
    expected = plain(*parameters, targets, weights, label_smoothing=0.1)

    def run():
        options = {"block_bytes": ONE_ROW, "xla": mode == "xla"}
        totals = cross_entropy(*parameters, targets, weights, label_smoothing=0.1, training=False, **options)
        return *totals, negative_log_likelihood(*parameters, targets, block_bytes=ONE_ROW)

    *totals, rows = (run if mode == "eager" else tf.function(run, jit_compile=mode == "xla", autograph=False))()
    assert errors(totals, expected) < 1e-12
    log_p = tf.nn.log_softmax(tf.matmul(*parameters[:2], transpose_b=True) + parameters[2])
    np.testing.assert_allclose(rows, -tf.gather(log_p, targets, batch_dims=1), rtol=1e-12)


def test_values_alone_have_no_gradient():
    parameters, targets, _ = draw()
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(parameters[0])
        rows = negative_log_likelihood(*parameters, targets)
        total, _ = cross_entropy(*parameters, targets, training=False)
        _, nll = cross_entropy(*parameters, targets)
    for value in (rows, total):
        with pytest.raises(LookupError, match="use cross_entropy with training=True"):
            tape.gradient(value, parameters[0])
    assert tape.gradient(nll, parameters[0]) is None


# What the caller got wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": tf.zeros([2, 4, 3])}, r"hidden has the shape \(2, 4, 3\), expected \[rows, units\]"),
        ({"kernel": tf.zeros([3, 7])}, r"kernel has the shape \(3, 7\), expected \[vocabulary, units\] with 3 units"),
        ({"bias": tf.zeros([6])}, r"bias has the shape \(6,\), expected \[vocabulary\] with 7 vocabulary"),
        ({"targets": tf.zeros([4], tf.int32)}, r"targets has the shape \(4,\), expected \[rows\] with 11 rows"),
        ({"weights": tf.zeros([4])}, r"weights has the shape \(4,\), expected \[rows\] with 11 rows"),
        ({"targets": tf.zeros([11])}, "targets are float32, expected whole numbers"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0, expected a number from 0 up to, but not, 1"),
        ({"block_bytes": 0}, "block_bytes is 0, expected at least 1"),
    ],
)
def test_refuses(change, message):
    (hidden, kernel, bias), targets, weights = draw(dtype=tf.float32)
    arguments = {"hidden": hidden, "kernel": kernel, "bias": bias, "targets": targets, "weights": weights}
    with pytest.raises(ValueError, match=message):
        cross_entropy(**arguments | change)


def test_refuses_an_unknown_vocabulary():
    @tf.function(input_signature=[tf.TensorSpec([None, 3])])
    def run(kernel):
        return cross_entropy(tf.zeros([2, 3]), kernel, None, [0, 0])

    with pytest.raises(ValueError, match="with only the rows unknown"):
        run(tf.zeros([5, 3]))


# Memory ---------------------------------------------------------------------------------------------------------------


def check_memory(rows: int, units: int, words: int, times: int, **options):
    """Returns the memory that a step with either loss adds to that in use before it, each in a process of its own."""
    program = f"""
from pathlib import Path
import tensorflow as tf
from layers.losses import cross_entropy
def kilobytes(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))
def plain(hidden, kernel, bias, targets):
    z = tf.nn.bias_add(tf.matmul(hidden, kernel, transpose_b=True), bias)
    return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, z))
def blocked(*arguments):
    return cross_entropy(*arguments, **{options})[0]
@tf.function(reduce_retracing=True, autograph=False)
def step(hidden, targets):
    with tf.GradientTape() as tape:
        tape.watch([hidden, kernel, bias])
        total = LOSS(hidden, kernel, bias, targets)
    return tape.gradient(total, [hidden, kernel, bias])
kernel, bias = tf.random.normal([{words}, {units}]), tf.zeros([{words}])
for rows in (1, 2, {rows}):  # the first ones trace, and start what TensorFlow starts only once
    hidden, targets = tf.random.normal([rows, {units}]), tf.zeros([rows], tf.int32)
    Path("/proc/self/clear_refs").write_text("5")  # begins a new peak
    before = kilobytes("VmRSS")
    step(hidden, targets)
print((kilobytes("VmHWM") - before) * 1024)
"""
    added = {}
    # Freed memory goes back to the system at once: what is held counts, not what the C library keeps for later.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    for loss in ("plain", "blocked"):
        command = [sys.executable, "-c", program.replace("LOSS", loss)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        added[loss] = int(done.stdout)
    assert added["plain"] > 0.9 * 4 * rows * words, added
    assert times * added["blocked"] < added["plain"], added


@pytest.mark.extra
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory():
    check_memory(2000, 16, 30000, times=5, block_bytes=2**22)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_with_a_large_vocabulary():
    check_memory(2000, 64, 80000, times=4)


# Sampled --------------------------------------------------------------------------------------------------------------


def for_seeds(number, function, *dtypes):
    """function(seed) for a number of seeds, each of its results stacked."""
    seeds = tf.stack([tf.fill([number], 7), tf.range(number)], axis=1)
    return tf.function(lambda: tf.map_fn(function, seeds, fn_output_signature=dtypes), autograph=False)()


@pytest.mark.parametrize(("words", "samples"), [(1, 1), (5, 5), (5, 1), (50, 12), (50, 49), (80000, 1000)])
def test_candidates_come_as_often_as_expected(words, samples):
    draws = 60 if words > 100 else 1000
    drawn, given = for_seeds(draws, lambda seed: log_uniform_candidates(words, samples, seed), tf.int32, tf.float64)
    assert drawn.shape == given.shape == [draws, samples]
    counts, expected = np.bincount(np.ravel(drawn), minlength=words), np.zeros(words)
    expected[np.ravel(drawn)] = np.ravel(given)
    certain = int(np.sum(expected == 1))
    np.testing.assert_array_equal(counts[:certain], draws)
    # The other words by the formula; none of them more often than once.
    n = np.arange(certain, words)
    share = np.log((n + 2) / (n + 1)) / np.log((words + 1) / (certain + 1)) if certain < words else np.zeros(0)
    mean = (samples - certain) * share
    assert mean.max(initial=0) <= 1 + 1e-9
    seen = counts[certain:] > 0
    np.testing.assert_allclose(expected[certain:][seen], mean[seen], rtol=1e-9)
    for part in np.array_split(np.arange(len(n)), 8):
        wanted = draws * mean[part].sum()
        assert abs(counts[certain:][part].sum() - wanted) <= 5 * math.sqrt(wanted)


def test_candidates_hardly_repeat():
    drawn, _ = for_seeds(10, lambda seed: log_uniform_candidates(80000, 5000, seed), tf.int32, tf.float64)
    for words in drawn:
        assert len(np.unique(words)) > 0.9 * 5000


@pytest.mark.parametrize("bias", [False, True])
def test_sampling_all_words_is_exact(bias):
    parameters, targets, weights = draw(bias=bias)
    expected = values_and_gradients(plain, parameters, targets, weights)
    del expected[1]
    options = {"samples": 7, "seed": [1, 2]}
    assert (
        errors(values_and_gradients(sampled_cross_entropy, parameters, targets, weights, **options), expected) < 1e-12
    )


@pytest.mark.parametrize("mode", ["eager", "xla"])
def test_sampled_equals_tensorflow_with_the_same_words(mode):
    (hidden, kernel, bias), targets, weights = draw(20, 4, 60)
    drawn, expected = log_uniform_candidates(60, 20, [3, 4])

    def reference(hidden, kernel, bias):
        # TensorFlow would correct the true word, too; in our estimate it is there for certain.
        sampled = tf.cast(drawn, tf.int64), tf.ones([20, 1], tf.float64), expected
        labels = tf.cast(targets, tf.int64)[:, tf.newaxis]
        rows = tf.nn.sampled_softmax_loss(kernel, bias, labels, hidden, 20, 60, sampled_values=sampled)
        return tf.reduce_sum(rows * weights)

    parameters = hidden, kernel, bias
    options = {"samples": 20, "seed": [3, 4], "mode": mode}
    found = values_and_gradients(sampled_cross_entropy, parameters, targets, weights, **options)
    assert errors(found, values_and_gradients(reference, parameters)) < 1e-12


def test_estimate_of_the_sum_is_unbiased():
    (hidden, kernel, bias), _, _ = draw(1, 3, 40)
    z = (tf.matmul(hidden, kernel, transpose_b=True) + bias)[0].numpy()
    for target in (0, 39):

        def loss(seed, target=target):
            return (sampled_cross_entropy(hidden, kernel, bias, [target], samples=8, seed=seed),)

        (losses,) = for_seeds(1000, loss, tf.float64)
        sums = np.exp(losses + z[target])
        assert np.std(sums) > 0
        assert abs(np.mean(sums) - np.exp(z).sum()) < 4 * np.std(sums) / math.sqrt(len(sums))


@pytest.mark.extra
def test_more_samples_come_closer_to_the_exact_gradient():
    parameters, targets, weights = draw(30, 5, 400, spread=0.5)
    exact = values_and_gradients(plain, parameters, targets, weights)[2:]
    exact = np.concatenate([np.ravel(value) for value in exact])

    def distances(samples):
        def gradients(seed):
            options = {"samples": samples, "seed": seed}
            found = values_and_gradients(sampled_cross_entropy, parameters, targets, weights, **options)[1:]
            return (tf.concat([tf.reshape(value, [-1]) for value in found], axis=0),)

        (found,) = for_seeds(20, gradients, tf.float64)
        length = np.linalg.norm(exact)
        found = found.numpy()
        cosines = found @ exact / np.linalg.norm(found, axis=1) / length
        return np.mean(cosines), np.mean(np.linalg.norm(found - exact, axis=1)) / length

    cosines, differences = zip(*[distances(samples) for samples in (20, 80, 240, 400)], strict=True)
    assert list(cosines) == sorted(cosines) and list(differences) == sorted(differences, reverse=True)
    assert cosines[1] > 0.9 and differences[-1] < 1e-12


def test_sampled_depends_on_the_seed_alone():
    parameters, targets, _ = draw(words=40, dtype=tf.float32)

    def run(seed):
        return sampled_cross_entropy(*parameters, targets, samples=10, seed=seed)

    assert run([1, 2]) == run([1, 2]) != run([1, 3])
    generator = keras.random.SeedGenerator(5)
    graph = tf.function(lambda: run(generator), autograph=False)
    graph()
    state = generator.state.numpy()  # a checkpoint
    went_on = [graph().numpy() for _ in range(3)]
    assert len(set(went_on)) == 3
    resumed = keras.random.SeedGenerator(99)
    resumed.state.assign(state)
    assert [tf.function(lambda: run(resumed), autograph=False)().numpy() for _ in range(3)] == went_on


def test_sampled_in_half_precision():
    (hidden, kernel, bias), targets, weights = draw(20, 4, 60, dtype=tf.float32)
    options = {"samples": 20, "seed": [1, 2]}
    exact = sampled_cross_entropy(hidden, kernel, bias, targets, weights, **options)
    found = sampled_cross_entropy(tf.cast(hidden, tf.bfloat16), kernel, bias, targets, weights, **options)
    assert found.dtype == tf.float32
    assert error(found, exact) < 0.02


@pytest.mark.parametrize("samples", [0, 8])
def test_refuses_samples(samples):
    parameters, targets, _ = draw()
    with pytest.raises(ValueError, match=f"samples is {samples}, expected a number from 1 to 7"):
        sampled_cross_entropy(*parameters, targets, samples=samples, seed=[1, 2])
