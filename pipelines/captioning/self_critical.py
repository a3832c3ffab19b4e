"""Self-critical training: the expected CIDEr-D of the captions that a model writes, instead of the likelihood of true
ones (Rennie et al. 2017, "Self-critical sequence training for image captioning", https://arxiv.org/abs/1612.00563).

The likelihood teaches a model to continue true words (teacher forcing); here it continues its own, and what counts is
the score of the whole caption. Captions w(1) … w(S) of each image are drawn from the model. Their scores r are rewards
of the REINFORCE gradient (Williams 1992), each compared with the mean of the others of the same image:

    A(s)      = r(s) - mean over k != s of r(k)
    dL/dtheta = -mean over s of A(s) d log p(w(s)) / dtheta    theta: the weights

The mean of the other samples is the baseline of Luo 2020, "A better variant of self-critical sequence training"
(https://arxiv.org/abs/2003.09971). It does not depend on w(s), so it does not change the expectation of the gradient;
it reduces its variance.

The captions are drawn without UNKNOWN and without the decoder's dropout; log p is that of training, with dropout and
over all words. So the gradient is that of the expected reward only approximately.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from layers import decoding, losses
from layers.recurrent_decoder import repeat_rows
from layers.teacher_forcing import teacher_forcing
from layers.text import END, PADDING, START, UNKNOWN
from pipelines.captioning.model import CaptioningModel
from pipelines.captioning.preprocessing import Preprocessing
from pipelines.captioning.scores import CiderD, words_of

OVER = "</s>"  # a word of every complete caption: without it, "a dog with a" would have a good score


class Reward:
    """The CIDEr-D of captions. The end of a caption counts as one more word.

    Args:
        references: The captions of each image of training, as they are written.
        preprocessing: Converts ids to captions.
    """

    def __init__(self, references: Sequence[Sequence[str]], preprocessing: Preprocessing):
        self.score = CiderD([[[*words_of(text), OVER] for text in each] for each in references])
        self.preprocessing = preprocessing

    def __call__(self, images, ids, complete):
        """Returns float32[captions]: the score of each.

        Args:
            images: int64[captions], the number of the image of each caption.
            ids: int32[captions, time].
            complete: bool[captions], whether the caption ended before the longest length.
        """
        texts = self.preprocessing.decode(ids)
        return tf.ensure_shape(tf.numpy_function(self._scores, [images, texts, complete], tf.float32), [None])

    def _scores(self, images, texts, complete):
        rows = zip(images, texts, complete, strict=True)
        words = [(image, words_of(text.decode()) + ([OVER] if over else [])) for image, text, over in rows]
        return np.array([self.score(each, image) for image, each in words], np.float32)


def make_loss(model: CaptioningModel, reward: Reward, *, samples: int, max_length: int, encode):
    """Returns a function loss(batch, training) -> name -> (total, weight): "loss", whose gradient is that above, and
    "reward", the CIDEr-D of the samples, both as means over captions.

    Args:
        samples: Captions that are drawn of each image, S above.
        max_length: Maximum number of words of a caption.
        encode: Function of (images of a batch, training) that returns their features.
    """

    def loss(batch, training: bool):
        images = batch["rows"]
        real = tf.repeat(tf.reduce_max(batch["real"], axis=1), samples)  # [captions]; 0 for what fills the batch
        state = model.initial_state(encode(batch["image"], training), training)
        high, low = tf.unstack(tf.cast(model.sampling.next(), tf.int64))
        sentences = decoding.sample(
            model.step,
            tf.nest.map_structure(lambda rows: tf.repeat(rows, samples, axis=0), state),
            start=START,
            end=END,
            max_length=max_length,
            forbidden=(PADDING, UNKNOWN, START),
            seed=tf.bitwise.bitwise_xor(tf.bitwise.left_shift(high, tf.constant(32, tf.int64)), low),
        )
        ids = tf.stop_gradient(sentences.ids[:, 0])  # [captions, time]
        lengths = sentences.lengths[:, 0]
        complete = lengths < max_length
        rewards = reward(tf.repeat(images, samples), ids, complete)
        by_image = tf.reshape(rewards, [-1, samples])
        baseline = (tf.reduce_sum(by_image, axis=1, keepdims=True) - by_image) / (samples - 1)
        advantage = tf.reshape(by_image - baseline, [-1]) * real
        inputs, targets, _ = teacher_forcing(ids, START, END)
        chosen = lengths + tf.cast(complete, tf.int32)  # the end too, where it was not forced
        weights = tf.sequence_mask(chosen, tf.shape(targets)[1], tf.float32) * advantage[:, tf.newaxis]
        outputs, _ = model.decode(inputs, repeat_rows(state, samples), training)
        total, _ = losses.cross_entropy(
            tf.reshape(outputs, [-1, model.readout_width]),
            model.softmax.kernel,
            model.softmax.bias,
            tf.reshape(targets, [-1]),
            tf.reshape(weights, [-1]),
            training=training,
        )
        captions = tf.reduce_sum(real)
        return {"loss": (total, captions), "reward": (tf.reduce_sum(rewards * real), captions)}

    return loss
