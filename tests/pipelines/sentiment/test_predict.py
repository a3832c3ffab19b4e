import pytest


@pytest.mark.parametrize("model", ["", "export"])
def test_one_object_for_each_text(shared, command, lines, model):
    assert command("predict", "--model", shared.run / model, "the film was good", "", "映画") == 0
    found = lines()
    assert [row["text"] for row in found] == ["the film was good", "", "映画"]
    for row in found:
        assert list(row) == ["text", "label", "probability"]
        assert row["label"] in ("negative", "positive")
        assert 0.5 <= row["probability"] <= 1


def test_lines_of_standard_input_with_a_bad_one_among_them(shared, command, lines, feed):
    feed(b"good film\r\n\nwhat a \xff mess\nbad" + b"\nit" * 100)
    assert command("predict", "--model", shared.run, "first", "-") == 1
    found = lines()
    assert len(found) == 105
    assert [row["text"] for row in found[:5]] == ["first", "good film", "", "what a \ufffd mess", "bad"]
    assert found[3]["error"] == "byte 8 is 0xff, which is not UTF-8"
    assert [number for number, row in enumerate(found) if "error" in row] == [3]


def test_pictures(shared, command, lines, tmp_path):
    assert command("predict", "--model", shared.run, "--picture", tmp_path / "a.png", "good film", "bad") == 0
    for name in ("a.png", "a-2.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert len(lines()) == 2


def test_the_picture_of_an_empty_review(shared, command, lines, tmp_path):
    assert command("predict", "--model", shared.run, "--picture", tmp_path / "a.png", "") == 0
    assert (tmp_path / "a.png").exists()


def test_a_review_of_ten_megabytes(shared, command, lines):
    text = "good film " * 1_000_000
    assert command("predict", "--model", shared.run, text) == 0
    assert lines()[0]["text"] == text


def test_only_exports_predict(shared, command, capsys, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_bytes((shared.run / "config.json").read_bytes())
    assert command("predict", "--model", run, "good") == 2
    message = capsys.readouterr().err
    assert f"{run} has no export yet, and its training is not finished: finish it, or make an export of its" in message
    assert f"with python -m pipelines.sentiment export --run {run}" in message
    assert command("predict", "--model", tmp_path, "good") == 2
    assert "is neither a run nor an export" in capsys.readouterr().err
    assert command("predict", "--model", shared.run) == 2
    assert "predict needs INPUT" in capsys.readouterr().err


def test_a_damaged_or_foreign_export(shared, command, capsys, tmp_path):
    import tensorflow as tf

    (tmp_path / "saved_model.pb").write_bytes(b"nothing")
    assert command("predict", "--model", tmp_path, "good") == 2
    assert "cannot be loaded" in capsys.readouterr().err
    tf.saved_model.save(tf.Module(), tmp_path / "foreign")
    assert command("predict", "--model", tmp_path / "foreign", "good") == 2
    assert "is not an export of the pipeline sentiment" in capsys.readouterr().err
