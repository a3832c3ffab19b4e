"""Convolutional networks that turn pixels into features: those of keras.applications, and small ones.

The input is pixels from 0 to 255, as images.py returns them: each network contains its own scaling. The architecture
does not depend on where the weights come from, so that the weights of a run fit the network that is built for its
export.
"""

import dataclasses
import hashlib
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from pipelines.common.data.loading import CORES, without_autograph, without_autotune
from pipelines.common.data.sources import reachable, real_data
from pipelines.common.errors import UserError
from pipelines.common.vision import images, small_encoders
from pipelines.common.weights import load_weights

STORAGE = "https://storage.googleapis.com"
CAFFE_MEAN = (103.939, 116.779, 123.68)  # blue, green, red: subtracted for the weights of ResNet50
EFFICIENTNET_DEVIATION = (0.229, 0.224, 0.225)  # red, green, blue


@dataclasses.dataclass(frozen=True)
class Application:
    """A network of keras.applications.

    Attributes:
        build: its builder.
        size: the image size it was trained with.
        min_size: the smallest image size that it supports.
        scaling: of pixels from 0 to 255. "unit": to -1 ... 1; "caffe": to BGR minus the mean; "inside": by the network.
        address: of its ImageNet weights.
    """

    build: Callable
    size: int
    min_size: int
    scaling: str
    address: str


APPLICATIONS = {
    "mobilenet_v2": Application(
        keras.applications.MobileNetV2,
        224,
        32,
        "unit",
        f"{STORAGE}/tensorflow/keras-applications/mobilenet_v2/"
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    ),
    "inception_v3": Application(
        keras.applications.InceptionV3,
        299,
        75,
        "unit",
        f"{STORAGE}/tensorflow/keras-applications/inception_v3/"
        "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
    "efficientnet_b0": Application(
        keras.applications.EfficientNetB0,
        224,
        32,
        "inside",
        f"{STORAGE}/keras-applications/efficientnetb0_notop.h5",
    ),
    "resnet50": Application(
        keras.applications.ResNet50,
        224,
        32,
        "caffe",
        f"{STORAGE}/tensorflow/keras-applications/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
}
NAMES = (*APPLICATIONS, *small_encoders.BUILDERS)


def build_encoder(name: str, *, weights: str, image_size: int, pooling: str = "avg") -> keras.Model:
    """Returns a CNN from pixels, a number [batch, image_size, image_size, 3] from 0 to 255, to features.

    Args:
        name: one of NAMES.
        weights: "imagenet" (a file `NAME_*imagenet_notop.weights.h5` in the folder `weights` of the real data; else
            what Keras has downloaded, or downloads), the path of a .weights.h5 or .h5 file, or "none" (random).
        pooling: "avg" returns float32[batch, features], the mean over the image; "none" float32[batch, positions,
            features], the positions of the last layer row by row. The networks for the samples do not average, as the
            captions are about positions: the "avg" of `small` is a projection of all positions, that of `peaks` the
            height and position of the peaks of each channel.

    Raises:
        UserError: There is no such network, the image is too small for it, there is no network connection to download
            from (detected within seconds), or a file does not contain its weights.
        ValueError: There is no such pooling.
    """
    if pooling not in ("avg", "none"):
        raise ValueError(f"pooling is {pooling!r}, expected 'avg' or 'none'")
    if name not in NAMES:
        raise UserError(f"there is no encoder {name}: expected one of {', '.join(NAMES)}")
    min_size = APPLICATIONS[name].min_size if name in APPLICATIONS else 16
    if image_size < min_size:
        raise UserError(
            f"images of {image_size} x {image_size} pixels are too small for {name}: expected at least {min_size}"
        )
    if name in small_encoders.BUILDERS:
        if weights == "imagenet":
            raise UserError(f"the {name} encoder has no ImageNet weights: expected none or a file .h5")
        encoder = small_encoders.BUILDERS[name](image_size, pooling)
        if weights != "none":
            load_file(encoder, weights)
        return encoder
    application = APPLICATIONS[name]
    network = application.build(include_top=False, weights=None, input_shape=(image_size, image_size, 3), name=name)
    if weights == "imagenet":
        load_imagenet(network, application)
    elif weights != "none":
        load_file(network, weights)
    pixels = keras.Input((image_size, image_size, 3), name="pixels")
    features = network(scaled(pixels, application.scaling))
    if pooling == "avg":
        features = keras.layers.GlobalAveragePooling2D(name="average")(features)
    else:
        features = keras.layers.Reshape((-1, features.shape[-1]), name="places")(features)
    return keras.Model(pixels, features, name="encoder")


def scaled(pixels, scaling: str):
    """Returns pixels from 0 to 255 scaled for a network of keras.applications."""
    if scaling == "unit":
        return keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scaling")(pixels)
    if scaling == "caffe":
        return keras.ops.flip(pixels, axis=-1) - np.asarray(CAFFE_MEAN, "float32")
    return pixels


def load_file(network: keras.Model, path):
    """Loads weights from a file, with or without those of the classifier on top, which are ignored."""
    if not str(path).endswith(".h5"):
        raise UserError(f"{path} is not a file of weights for {network.name}: expected imagenet, none or a file .h5")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # if some layers keep their random weights
        try:
            load_weights(network, path)
        except UserWarning as warning:
            reason = " ".join(str(warning).split())
            raise UserError(f"{path} does not hold the weights of this model ({network.name}): {reason}") from warning
    correct_scaling(network)


def load_imagenet(network: keras.Model, application: Application):
    """Loads the ImageNet weights: from the folder of the real data, from a previous download, or downloaded now."""
    beside = sorted((real_data() / "weights").glob(f"{network.name}_*imagenet_notop.weights.h5"))
    if beside:
        load_file(network, beside[0])
        return
    home = pathlib.Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    if not (home / "models" / application.address.rpartition("/")[2]).is_file() and not reachable(application.address):
        raise UserError(
            f"there is no network to download {application.address}, the ImageNet weights of {network.name}:"
            " download it on another machine and give the file as the weights, or none"
        )
    shape = (application.size, application.size, 3)
    try:
        original = application.build(include_top=False, weights="imagenet", input_shape=shape)
    except Exception as error:  # Keras raises a bare Exception for a failed download
        reason = " ".join(str(error).split())
        raise UserError(f"the ImageNet weights of {network.name} could not be downloaded: {reason}") from error
    network.set_weights(original.get_weights())
    correct_scaling(network)


def correct_scaling(network: keras.Model):
    """Corrects the variances of EfficientNet, as Keras does with another layer, but only for weights="imagenet".

    Its published weights contain standard deviations in the place of variances; Keras then divides again by the square
    roots of these: (x - mean) / sqrt(v) / sqrt(d) = (x - mean) / sqrt(v d).
    """
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            mean, variance, *rest = layer.get_weights()
            if np.any(variance != 1):  # 1: trained from random weights, without that layer
                layer.set_weights([mean, variance * np.asarray(EFFICIENTNET_DEVIATION, "float32"), *rest])
                layer.finalize_state()


def encode_batch(network, pixels):
    """Returns network(pixels), float[images, ...], of float[images, height, width, 3], where `images` may be 0.

    The convolutions of oneDNN, which TensorFlow uses with AVX-512, fail for an empty batch.
    """
    count = tf.shape(pixels)[0]
    more = tf.cast(count == 0, tf.int32)
    return network(tf.pad(pixels, [[0, more], [0, 0], [0, 0], [0, 0]]))[:count]


def set_trainable(encoder: keras.Model, trainable: bool, first: str | None = None):
    """Freezes or unfreezes an encoder. The batch normalization of keras.applications always stays frozen.

    A frozen BatchNormalization runs in inference mode even with training=True: otherwise the statistics of the few
    images of a batch would replace those of ImageNet. (Setting `trainable` of a model around the encoder unfreezes all
    of it: set that first.) Dropout in the encoder depends on `training`: pass training=False while it is frozen.

    Args:
        first: name of the first layer that is trained, such as block_13_expand; earlier layers stay frozen. None: all
            are trained.

    Raises:
        UserError: There is no such layer.
    """
    encoder.trainable = trainable
    all_layers = inner_layers(encoder)
    names = [layer.name for layer in all_layers]
    if first is not None and first not in names:
        raise UserError(f"the encoder has no layer {first}: expected one such as {names[-1]}")
    start = names.index(first) if first is not None else 0
    pretrained = any(layer.name in APPLICATIONS for layer in encoder.layers)
    for place, layer in enumerate(all_layers):
        keeps_statistics = pretrained and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = trainable and place >= start and not keeps_statistics


def inner_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns all layers of a model in order, with nested models replaced by their layers."""
    found = []
    for layer in model.layers:
        found += inner_layers(layer) if isinstance(layer, keras.Model) else [layer]
    return found


def digest(encoder: keras.Model) -> str:
    """Returns the SHA-256 of all weights, for the key of a feature cache."""
    sums = hashlib.sha256()
    for value in encoder.get_weights():
        sums.update(f"{value.dtype} {value.shape}".encode())
        sums.update(np.ascontiguousarray(value).data)
    return sums.hexdigest()


def encode_files(
    encoder: keras.Model, paths: Sequence, *, size: int, fit: str, pixel_limit: int, batch: int = 32
) -> Iterator[np.ndarray | str]:
    """Yields for each image file its features float32[rows, features] (one row, or one per position), or the reason why
    there are none, as the end of a sentence; see feature_cache.fill."""

    @tf.function(input_signature=[tf.TensorSpec([None, size, size, 3], tf.float32)], autograph=False)
    def encode(pixels):
        return encoder(pixels, training=False)

    def contents():
        for number, path in enumerate(paths):
            content = images.read(path)
            yield number, content if isinstance(content, bytes) else b""

    def decode(number, encoded):
        return number, images.decode_one(encoded, size=size, fit=fit, pixel_limit=pixel_limit)

    # One dataset for all images: images.decode creates one in every call, which is slow for small images.
    signature = tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.string)
    decoded = without_autotune(tf.data.Dataset.from_generator(contents, output_signature=signature))
    decoded = decoded.map(without_autograph(decode), num_parallel_calls=CORES).ignore_errors().batch(batch).prefetch(1)

    def failed(numbers) -> Iterator[str]:
        for number in numbers:
            yield images.check(paths[number], pixel_limit) or "could not be decoded"

    done = 0
    for numbers, pixels in decoded:
        for number, row in zip(numbers.numpy(), encode(pixels).numpy(), strict=True):
            yield from failed(range(done, number))
            yield row.reshape(-1, row.shape[-1])
            done = number + 1
    yield from failed(range(done, len(paths)))
