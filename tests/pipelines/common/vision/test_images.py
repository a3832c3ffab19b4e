import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from pipelines.common.vision import exif, images

LIMIT = 20_000_000
GIVEN = {"size": 32, "fit": "squeeze", "pixel_limit": LIMIT}
SCENE = np.random.default_rng(0).integers(0, 256, (40, 60, 4), np.uint8)
# Smooth, so that a JPEG keeps its colours.
SMOOTH = np.stack([*np.meshgrid(np.linspace(0, 255, 60), np.linspace(0, 255, 40)), np.full((40, 60), 90)], -1)
SMOOTH = SMOOTH.astype(np.uint8)


def encoded(array, kind="PNG", mode=None, **options) -> bytes:
    picture = Image.fromarray(array) if mode is None else Image.fromarray(array).convert(mode)
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def exif_data(orientation, byte_order=">") -> bytes:
    """Exif data with a directory of three entries, the middle one the orientation."""
    mark = b"MM" if byte_order == ">" else b"II"
    entries = [(0x0100, 4, 1, 60 << 16), (0x0112, 3, 1, orientation), (0x0131, 2, 4, 0)]
    data = mark + struct.pack(byte_order + "HIH", 42, 8, len(entries))
    for tag, kind, count, value in entries:
        packed = struct.pack(byte_order + ("HH" if kind == 3 else "I"), *((value, 0) if kind == 3 else (value,)))
        data += struct.pack(byte_order + "HHI", tag, kind, count) + packed
    return b"Exif\0\0" + data + bytes(4)


def with_pillow(content: bytes) -> np.ndarray:
    """The second implementation: turned upright, on a white ground, in RGB."""
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    if "A" in picture.mode or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB"))


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def upright(content):
    return exif.turn(images.read_pixels(content, LIMIT), exif.orientation(content))


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def orientation_of(content):
    return exif.orientation(content)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def decode_one(content):
    return images.decode_one(content, **GIVEN)


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def decode(contents):
    return images.decode(contents, **GIVEN)


RGB, GREY = SCENE[..., :3], SCENE[..., 0]
EQUAL = {
    "jpeg": encoded(RGB, "JPEG"),
    "progressive": encoded(RGB, "JPEG", progressive=True),
    "grey jpeg": encoded(GREY, "JPEG"),
    "png": encoded(RGB),
    "grey": encoded(GREY),
    "one bit": encoded(GREY, mode="1"),
    "palette of one bit": encoded(GREY // 128, mode="P", bits=1),
    "palette of two bits": encoded(GREY // 64, mode="P", bits=2),
    "palette of four bits": encoded(GREY // 16, mode="P", bits=4),
    "palette of four bits, one colour transparent": encoded(GREY // 16, mode="P", bits=4, transparency=3),
    "palette of four bits, all shades": encoded(GREY // 16, mode="P", bits=4, transparency=bytes(range(0, 256, 16))),
    "palette": encoded(RGB, mode="P"),
    "palette, one colour transparent": encoded(RGB, mode="P", transparency=7),
    "one grey transparent": encoded(GREY, transparency=int(GREY[0, 0])),
    "one pixel": encoded(RGB[:1, :1]),
    "one pixel, jpeg": encoded(RGB[:1, :1], "JPEG"),
    "one row": encoded(RGB[:1]),
    "interlaced": None,  # below
    "something behind it": encoded(RGB, "JPEG") + b"behind",
}


def interlaced(grey: np.ndarray) -> bytes:
    """An Adam7 PNG, which Pillow reads and does not write."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = [row for top, left, down, right in passes for row in grey[top::down, left::right] if len(row)]
    header = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 1)
    return png(header, zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))


def png(header: bytes, pixels: bytes) -> bytes:
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return images.PNG + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


EQUAL["interlaced"] = interlaced(GREY)


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A file of 14 KB that says, truly, that it holds 120 million black pixels: 360 MB when decoded."""
    row = bytes(1251)
    return png(struct.pack(">IIBBBBB", 10_000, 12_000, 1, 0, 0, 0, 0), zlib.compress(row * 12_000, 9))


@pytest.mark.parametrize("name", EQUAL)
def test_pixels_are_those_of_a_second_decoder(name):
    np.testing.assert_array_equal(upright(EQUAL[name]), with_pillow(EQUAL[name]))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_blended_with_white(mode):
    array = SCENE if mode == "RGBA" else SCENE[..., 2:]
    content = encoded(array) if mode == "RGBA" else encoded(SCENE, mode="LA")
    got, alpha = upright(content).numpy().astype(int), np.asarray(Image.open(io.BytesIO(content)))[..., -1:]
    np.testing.assert_allclose(got, with_pillow(content), atol=1)  # Pillow's own rounding is no better
    assert (got[alpha[..., 0] == 0] == 255).all() and (alpha == 0).any()
    opaque = alpha[..., 0] == 255
    np.testing.assert_array_equal(got[opaque], with_pillow(content)[opaque])
    if mode == "RGBA":
        exact = (SCENE[..., :3] * (alpha / 255) + 255 * (1 - alpha / 255)).round()
        np.testing.assert_array_equal(got, exact)


def test_sixteen_bits_keep_the_upper_eight():
    array = np.arange(0, 65536, 28, np.uint16)[:2340].reshape(39, 60)
    np.testing.assert_array_equal(upright(encoded(array))[..., 0], array >> 8)


def test_cmyk():
    content = encoded(SMOOTH, "JPEG", mode="CMYK", quality=95)
    difference = np.abs(upright(content).numpy().astype(int) - SMOOTH)
    assert difference.mean() < 2 and difference.max() < 16  # an inverted one would be 100 off


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("byte_order", "><")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(kind, byte_order, orientation):
    content = encoded(RGB, kind, exif=exif_data(orientation, byte_order))
    assert Image.open(io.BytesIO(content)).getexif()[0x0112] == orientation
    assert orientation_of(content) == orientation
    np.testing.assert_array_equal(upright(content), with_pillow(content))
    found, scaled = decode_one(content), images.scale(with_pillow(content), 32, "squeeze")
    np.testing.assert_allclose(found, scaled, atol=1e-4)


def test_a_cropped_image_is_its_middle():
    content, middle = encoded(RGB), RGB[:, 10:50]
    found = images.decode_one(tf.constant(content), size=32, fit="crop", pixel_limit=LIMIT)
    np.testing.assert_allclose(found, images.scale(middle, 32, "squeeze"), atol=1e-4)


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">HH", marker, len(data) + 2) + data


def test_orientation_is_found_after_other_segments():
    start, rest = EQUAL["jpeg"][:2], EQUAL["jpeg"][2:]
    before = segment(0xFFE2, b"ICC_PROFILE\0" + bytes(500)) + segment(0xFFE1, b"http://ns.adobe.com/xap/1.0/\0")
    content = start + before + b"\xff\xff" + segment(0xFFE1, exif_data(6)) + rest
    assert orientation_of(content) == 6
    np.testing.assert_array_equal(upright(content), with_pillow(content))


@pytest.mark.parametrize(
    "data",
    [
        exif_data(0), exif_data(9), exif_data(6)[:9], exif_data(6)[:20], b"Exif\0\0", b"Exif\0\0XX" + exif_data(6)[8:],
        exif_data(6).replace(b"\0\0\0\x08", b"\xff\xff\xff\xff", 1), exif_data(6).replace(b"\x01\x12", b"\x01\x13", 1),
    ],
)  # fmt: skip
def test_without_a_valid_orientation_an_image_stays_as_it_is(data):
    content = EQUAL["jpeg"][:2] + segment(0xFFE1, data) + EQUAL["jpeg"][2:]
    np.testing.assert_array_equal(upright(content), with_pillow(EQUAL["jpeg"]))


def test_the_letters_of_exif_in_the_pixels_are_ignored():
    content = EQUAL["jpeg"] + segment(0xFFE1, exif_data(6))
    assert orientation_of(content) == 1


@pytest.mark.parametrize("name", ["random", "all ff"])
def test_orientation_of_invalid_data_terminates(name):
    noise = np.random.default_rng(1).integers(0, 256, 5000, np.uint8).tobytes() if name == "random" else b"\xff" * 5000
    for magic in (images.JPEG, images.PNG):
        assert orientation_of(magic + noise + b"Exif\0\0") == 1


def damaged() -> dict[str, bytes]:
    jpeg, picture, progressive = encoded(RGB, "JPEG"), encoded(RGB), encoded(RGB, "JPEG", progressive=True)
    flipped = bytearray(picture)
    flipped[len(flipped) // 2] ^= 0xFF
    return {
        "jpeg without its end": jpeg[:-2],
        "half a jpeg": jpeg[: len(jpeg) // 2],
        "half a progressive jpeg": progressive[: len(progressive) // 2],
        "start of a jpeg": jpeg[:20],
        "mark of a jpeg": jpeg[:3],
        "png without its end": picture[:-12],
        "half a png": picture[: len(picture) // 2],
        "mark of a png": picture[:8],
        "damaged png": bytes(flipped),
        "png that ends in its height": picture[:22],
        "no width": png(struct.pack(">IIBBBBB", 0, 5, 8, 0, 0, 0, 0), zlib.compress(b"")),
        "negative sides": png(struct.pack(">iiBBBBB", -60, -40, 8, 2, 0, 0, 0), zlib.compress(b"")),
        "one negative side": png(struct.pack(">iiBBBBB", -60, 40, 8, 2, 0, 0, 0), zlib.compress(b"")),
        "jpeg without height": jpeg.replace(struct.pack(">HH", 40, 60), struct.pack(">HH", 0, 60), 1),
    }


DAMAGED = damaged()
NO_IMAGE = {
    "text": b"a text file that is named .jpg",
    "gif": encoded(RGB, "GIF"),
    "bmp": encoded(RGB, "BMP"),
    "zeros": bytes(100),
}


def too_large_jpeg() -> bytes:
    content = encoded(RGB, "JPEG")
    return content.replace(struct.pack(">HH", 40, 60), struct.pack(">HH", 60_000, 60_000), 1)


def test_unreadable_images_are_refused_with_the_reason(bomb, tmp_path):
    def check(content):
        (tmp_path / "image.jpg").write_bytes(content)
        return images.check(tmp_path / "image.jpg", LIMIT)

    assert [name for name, content in EQUAL.items() if check(content)] == []
    assert {name: check(content) for name, content in DAMAGED.items()} == dict.fromkeys(
        DAMAGED, "is truncated or damaged"
    )
    for content in NO_IMAGE.values():
        assert check(content) == f"is not a JPEG or PNG image: it begins with {content[:8]!r}"
    assert check(b"") == "is empty"
    assert 14_000 < len(bomb) < 20_000
    assert check(bomb) == "has 10000 x 12000 pixels: expected at most 20000000"
    assert check(too_large_jpeg()) == "has 60000 x 60000 pixels: expected at most 20000000"
    assert images.check(tmp_path / "none.jpg", LIMIT) == "could not be read: No such file or directory"
    assert images.check(tmp_path, LIMIT) == "could not be read: Is a directory"


def test_the_limit_itself_is_allowed():
    assert images.refusal(EQUAL["png"], 40 * 60) is None
    assert images.refusal(EQUAL["png"], 40 * 60 - 1) is not None


def test_unreadable_images_of_a_batch_are_black_and_do_not_affect_others(bomb):
    bad = [*DAMAGED.values(), *NO_IMAGE.values(), b"", bomb, too_large_jpeg()]
    good = list(EQUAL.values())
    contents = [content for pair in zip(bad, good, strict=False) for content in pair] + bad[len(good) :]
    pixels, valid = decode(tf.constant(contents))
    np.testing.assert_array_equal(valid, [content in good for content in contents])
    for content, got in zip(contents, pixels.numpy(), strict=True):
        expected = decode_one(content) if content in good else np.zeros((32, 32, 3))
        np.testing.assert_array_equal(got, expected)
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_one(bomb)


def turned_images() -> list[bytes]:
    return [
        encoded(RGB[:, : 30 + orientation], kind, exif=exif_data(orientation, byte_order))
        for kind in ("JPEG", "PNG")
        for byte_order in "><"
        for orientation in range(1, 9)
    ]


@pytest.mark.parametrize("fit", ["squeeze", "crop"])
def test_images_of_a_batch_are_equal_to_single_ones_to_the_last_bit(fit):
    """All eight orientations, JPEG and PNG in turn, and some that cannot be read."""
    images_of_both_kinds = turned_images()
    contents = [*images_of_both_kinds[::2], *DAMAGED.values(), b"", *images_of_both_kinds[1::2], encoded(SCENE)]
    options = {**GIVEN, "fit": fit}
    pixels, valid = images.decode(tf.constant(contents), **options)
    for content, got, readable in zip(contents, pixels.numpy(), valid.numpy(), strict=True):
        assert readable == (content not in DAMAGED.values() and content != b"")
        if readable:
            np.testing.assert_array_equal(got, images.decode_one(tf.constant(content), **options))


def test_only_the_decoding_of_bytes_is_set_up_in_every_call():
    """The graph of a dataset is instantiated anew in every call, for 0.3 s if it also scales and rotates."""
    graph = decode.get_concrete_function().graph.as_graph_def()
    functions = {function.signature.name: function for function in graph.library.function}
    nodes = [*graph.node, *(node for function in functions.values() for node in function.node_def)]
    (mapped,) = {node.attr["f"].func.name for node in nodes if node.op.startswith("ParallelMapDataset")}

    def operations(name):
        for node in functions[name].node_def:
            yield node.op
            for value in node.attr.values():
                if value.func.name:
                    yield from operations(value.func.name)

    found = list(operations(mapped))
    assert {"DecodeJpeg", "DecodePng", "ExtractJpegShape"} <= set(found)
    assert len(found) < 80 and "ScaleAndTranslate" not in found


@pytest.mark.parametrize("contents", [[], [b""], [b"no", b"image"]])
def test_a_batch_of_unreadable_images(contents):
    pixels, valid = decode(tf.constant(contents, tf.string))
    assert pixels.shape == (len(contents), 32, 32, 3) and not pixels.numpy().any()
    assert valid.shape == (len(contents),) and not valid.numpy().any()


def test_scale_keeps_an_image_of_the_size_to_the_last_bit():
    for fit in ("squeeze", "crop"):
        np.testing.assert_array_equal(images.scale(RGB[:, :40], 40, fit), RGB[:, :40])


def test_squeezing_keeps_the_whole_image_and_cropping_the_aspect_ratio():
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, :20] = 255
    assert images.scale(wide, 16, "squeeze").numpy()[:, :4].min() == pytest.approx(255, abs=40)
    assert images.scale(wide, 16, "crop").numpy().max() == 0  # the middle, columns 20 to 60
    np.testing.assert_array_equal(images.scale(wide, 16, "crop"), images.scale(wide[:, 20:60], 16, "squeeze"))
    tall = wide.transpose(1, 0, 2)
    np.testing.assert_array_equal(images.scale(tall, 16, "crop"), images.scale(tall[20:60], 16, "squeeze"))
    with pytest.raises(ValueError, match="fit is 'pad', expected 'squeeze' or 'crop'"):
        images.scale(wide, 16, "pad")


def test_scaling_down_averages():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::2] = 200  # every second row: without antialiasing all would be 0 or 200
    inner = images.scale(stripes, 8, "squeeze").numpy()[1:-1, 1:-1]
    np.testing.assert_allclose(inner, 100, atol=4)
    truth = np.asarray(Image.fromarray(RGB).resize((16, 16), Image.Resampling.BILINEAR), float)
    np.testing.assert_allclose(images.scale(RGB, 16, "squeeze"), truth, atol=1)  # Pillow rounds


def test_frames_scale_as_single_images():
    frames = np.random.default_rng(2).integers(0, 256, (3, 30, 44, 3), np.uint8)
    for fit in ("squeeze", "crop"):
        alone = np.stack([images.scale(frame, 24, fit) for frame in frames])
        np.testing.assert_array_equal(images.scale(frames, 24, fit), alone)


@pytest.mark.extra
def test_an_export_reads_the_same_pixels_in_bare_tensorflow_without_memory_for_a_bomb(tmp_path, bomb):
    """4000 x 3000 included; the bombs are read before it, so that their memory would show."""
    photo = np.kron(RGB[:30, :40], np.ones((100, 100, 1), np.uint8))
    contents = [*EQUAL.values(), *DAMAGED.values(), *NO_IMAGE.values(), b"", encoded(photo, "JPEG", exif=exif_data(6))]
    contents += [encoded(SCENE), encoded(SMOOTH, "JPEG", mode="CMYK"), *turned_images()]
    (tmp_path / "contents").mkdir()
    for number, content in enumerate([*contents, bomb, too_large_jpeg()]):
        (tmp_path / "contents" / f"{number:03d}").write_bytes(content)
    module = tf.Module()
    module.decode = decode
    tf.saved_model.save(module, tmp_path / "export", signatures={"serving_default": with_names})
    program = f"""
import pathlib, resource
import tensorflow as tf
loaded = tf.saved_model.load({str(tmp_path / "export")!r})
call = loaded.signatures["serving_default"]
contents = [path.read_bytes() for path in sorted(pathlib.Path({str(tmp_path / "contents")!r}).iterdir())]
call(image=tf.constant(contents[:5]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
bombs = call(image=tf.constant(contents[-2:]))
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
given = call(image=tf.constant(contents[:-2]))
pathlib.Path({str(tmp_path / "pixels")!r}).write_bytes(tf.io.serialize_tensor(given["pixels"]).numpy())
print(bombs["valid"].numpy().any(), grown // 1024, "".join("01"[int(v)] for v in given["valid"].numpy()))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert result.returncode == 0, result.stderr
    any_bomb, grown, valid = result.stdout.split()
    assert any_bomb == "False" and int(grown) < 60  # MB; decoded they take 360, and 10,800
    pixels, python_valid = decode(tf.constant(contents))
    assert valid == "".join("01"[int(v)] for v in python_valid)
    assert valid.count("1") == len(EQUAL) + 3 + len(turned_images())
    np.testing.assert_array_equal(tf.io.parse_tensor((tmp_path / "pixels").read_bytes(), tf.float32), pixels)


@tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image")])
def with_names(image):
    pixels, valid = decode(image)
    return {"pixels": pixels, "valid": valid}
