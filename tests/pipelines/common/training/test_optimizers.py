import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.common.training.optimizers import LazyAdam, ParameterGroup, make_optimizer
from pipelines.common.training.options import TrainingOptions


def reference(gradients: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """(where zeros are after Adam's updates, updates that reached each row), a row's moments and place standing still
    while its gradient is zero. Kingma & Ba 2015, algorithm 1, in the form at the end of its section 2."""
    m, v, w = np.zeros((3, *gradients.shape[1:]))
    reached = np.zeros(len(w), int)
    for t, gradient in enumerate(gradients, start=1):
        alpha = rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        for row, g in enumerate(gradient):
            if g.any():
                m[row], v[row] = 0.9 * m[row] + 0.1 * g, 0.999 * v[row] + 0.001 * g**2
                w[row] -= alpha * m[row] / (np.sqrt(v[row]) + 1e-7)
                reached[row] += 1
    return w, reached


@pytest.mark.parametrize("xla", [False, True])
def test_lazy_adam_leaves_rows_without_a_gradient_alone(xla):
    random = np.random.default_rng(0)
    gradients = random.normal(size=(40, 9, 3)) * (random.random((40, 9, 1)) < 0.2)
    gradients[:, 8] = 0
    gradients[:, :, 2] = 0  # a column of zeros alone is no row of zeros
    gradients[3, 0] = [0, 1, 0]
    table, bias = keras.Variable(np.zeros((9, 3))), keras.Variable(np.zeros(3))
    optimizer, adam = LazyAdam(0.1), keras.optimizers.Adam(0.1)
    other = keras.Variable(np.zeros(3))
    optimizer.build([table, bias]), adam.build([other])
    update = tf.function(lambda *found: optimizer.apply(found, [table, bias]), jit_compile=xla)
    for gradient in gradients.astype(np.float32):
        update(tf.constant(gradient), tf.constant(gradient[0]))
        adam.apply([tf.constant(gradient[0])], [other])
    expected, reached = reference(gradients, 0.1)
    assert reached[8] == 0 and 0 < reached[:8].min() < 40
    np.testing.assert_allclose(table.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(bias.numpy(), other.numpy(), atol=1e-6)  # not a matrix: as Adam


def test_lazy_adam_is_an_option_and_survives_its_config():
    model = keras.Sequential([keras.layers.Embedding(5, 2)])
    model(tf.zeros([1, 1], tf.int32))
    optimizer = make_optimizer(
        TrainingOptions(optimizer="lazy-adam"), ParameterGroup(model.trainable_variables, 0.1), {0: 10}
    )
    assert isinstance(optimizer, LazyAdam)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, LazyAdam) and again.get_config() == optimizer.get_config()
