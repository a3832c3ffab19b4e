import pytest

from pipelines.common.errors import UserError
from pipelines.common.serving.decoding_options import DecodingOptions


@pytest.mark.parametrize("model", ["", "export"])
def test_one_object_for_each_sentence(shared, command, lines, model):
    assert command("predict", "--model", shared.run / model, "A red star.", "", "A car.") == 0
    found = lines()
    assert [row["source"] for row in found] == ["A red star.", "", "A car."]
    assert all(list(row) == ["source", "translation", "score", "confidence", "unknown"] for row in found)
    assert [row["unknown"] for row in found] == [[], [], []] and [row["confidence"] > 0 for row in found] == [1, 0, 1]
    assert found[1]["translation"] == "" and found[1]["score"] == 0
    assert found[0]["score"] < 0


def test_lines_of_standard_input_one_of_them_invalid(shared, command, lines, feed):
    feed(b"A red star.\r\n\nwhat a \xff mess\n" + b"A car.\n" * 40)
    assert command("predict", "--model", shared.run, "-", "--beam-size", "1") == 1
    found = lines()
    assert len(found) == 43
    assert found[2] == {"source": "what a \ufffd mess", "error": "byte 8 is 0xff, which is not UTF-8"}
    assert [number for number, row in enumerate(found) if "error" in row] == [2]
    assert len({row["translation"] for row in found[3:]}) == 1


def test_a_long_line_is_read_up_to_the_limit(shared, command, lines, feed):
    feed(b"star " * 16_000 + b"\nA car.\n")
    assert command("predict", "--model", shared.run, "-") == 0
    found = lines()
    assert len(found) == 2 and len(found[0]["source"]) == 80_000


def test_warm_start_and_candidates(shared, command, lines):
    assert command("predict", "--model", shared.run, "A red star.", "--prefix", "Cette étoile", "--n-best", "7") == 0
    (row,) = lines()
    assert row["translation"].startswith("Cette étoile")
    assert row["candidates"][0] == row["translation"] and len(row["candidates"]) == 7
    assert row["scores"][0] == row["score"] and row["scores"] == sorted(row["scores"], reverse=True)


def test_sampling(shared, command, lines):
    arguments = ["predict", "--model", shared.run, "A red star.", "A car.", "--temperature", "2.5", "--top-p", "0.95"]
    assert command(*arguments, "--seed", "3") == 0
    first = lines()
    assert command(*arguments, "--seed", "3") == 0
    assert lines() == first
    assert any(command(*arguments, "--seed", str(seed)) or lines() != first for seed in range(4, 8))


def test_pictures_of_the_words_and_a_map(shared, command, lines, tmp_path):
    texts = ["A red star.", "A green car.", "This door isn't red!"]
    assert command("predict", "--model", shared.run, *texts, "--picture", tmp_path / "words.png") == 0
    names = ["words-2.png", "words-3.png", "words-map.png", "words.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in names)
    assert len(lines()) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1, "beam_size": 2}, "--seed samples and --beam-size searches: give only one of them"),
        ({"top_k": 1, "n_best": 2}, "--top-k samples and --n-best searches"),
        ({"beam_size": 0}, "--beam-size is 0, but must be at least 1"),
        ({"max_length": 0}, "--max-length is 0, but must be at least 1"),
        ({"temperature": 0.0}, "--temperature is 0.0, but must be greater than 0"),
        ({"top_p": 1.5}, "--top-p is 1.5, but must be above 0 and at most 1"),
        ({"length_penalty": -0.5}, "--length-penalty is -0.5, but must be at least 0"),
    ],
)
def test_invalid_decoding_options(options, message):
    with pytest.raises(UserError) as found:
        DecodingOptions(**options)
    assert message in str(found.value)


def test_invalid_models(shared, command, capsys, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for model, message in (
        (tmp_path / "none", "is neither a run nor an export"),
        (tmp_path, "is not the configuration of a run"),
    ):
        assert command("predict", "--model", model, "A car.") == 2
        assert message in capsys.readouterr().err
    assert command("predict", "--model", shared.run) == 2
    assert "predict needs INPUT" in capsys.readouterr().err
