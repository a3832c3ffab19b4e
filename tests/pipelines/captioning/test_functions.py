import json

import numpy as np
import pytest
from PIL import Image

from pipelines.captioning.export import export
from pipelines.common.options import Export
from pipelines.common.serving import exports
from pipelines.common.serving.decoding_options import DecodingOptions
from tests import device_programs


def photos(folder) -> list:
    """A photo in another orientation, and a picture with transparency, neither of which is a square."""
    draw = np.random.default_rng(0)
    coarse = Image.fromarray(draw.integers(0, 256, (6, 9, 3), np.uint8)).resize((90, 60), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    coarse.save(folder / "turned.jpg", quality=95, exif=exif)
    coarse.putalpha(Image.linear_gradient("L").resize(coarse.size))
    coarse.save(folder / "transparent.png")
    return [folder / "turned.jpg", folder / "transparent.png"]


@pytest.mark.extra
@pytest.mark.parametrize("format", ["litert", "onnx"])
@pytest.mark.parametrize("which", ["shared", "attending"])
def test_the_program_captions_as_the_saved_model(shared, attending, tmp_path, format, which):
    device_programs.require(format)
    run = {"shared": shared.run, "attending": attending}[which]
    folder = export(Export((run,), tmp_path / "caption", format))
    described = json.loads((folder / "model.json").read_text("utf-8"))
    assert described["image_size"] == 32 and described["fit"] == ("crop" if which == "attending" else "squeeze")
    assert described["comparison"]["same"] == described["comparison"]["answers"] > 10
    images = [shared.image(0), shared.image(1), *photos(tmp_path)]
    found = device_programs.run(folder, "caption.py", folder, *images)
    options = DecodingOptions(beam_size=1, length_penalty=0.0)
    loaded = exports.load(run, "captioning", {"caption", "score", "candidates"})
    outputs = exports.decode(loaded, options, image=[path.read_bytes() for path in images])
    expected = [each["caption"] for each in exports.sentences(outputs, "caption", options)]
    assert [each["caption"] for each in found] == expected


@pytest.mark.extra
def test_int8_is_smaller_and_two_sizes_cannot_be_averaged(shared, attending, command, capsys, tmp_path):
    device_programs.require("litert")
    assert command("export", "--run", shared.run, attending, "--format", "litert", "--to", tmp_path / "mean") == 2
    assert "the runs take images of different sizes" in capsys.readouterr().err
    assert command("export", "--run", shared.run, "--format", "litert", "--weights", "int8") == 0
    answered = capsys.readouterr()
    assert answered.out == f"{shared.run / 'export-litert-int8'}\n"
    assert "int8: the answers are those of TensorFlow in" in answered.err
