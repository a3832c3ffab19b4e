import csv
import json
import shutil

import numpy as np
import pytest

from pipelines.captioning import batches, dataset, evaluate
from pipelines.captioning.captions import Captioned
from pipelines.captioning.decoder import feature_decoder
from pipelines.captioning.evaluate import FeatureExtractor, Perplexity, nearest_captions, scores_of_each
from pipelines.captioning.model import load_trained
from pipelines.captioning.scores import all_scores
from pipelines.captioning.train import make_loss
from pipelines.common.config import replace
from pipelines.common.runs import Run


@pytest.fixture(scope="module")
def trained(shared):
    return load_trained(Run.open(shared.run, "captioning"))


@pytest.fixture(scope="module")
def images(trained):
    """The images of validation, with features."""
    return dataset.with_features(
        dataset.load_part(trained.config.data, "validation"), trained.model.encoder, trained.config
    )


def test_the_table_and_the_files_of_an_evaluation(shared, command, capsys, monkeypatch):
    sheets, draw = [], evaluate.draw_contact_sheet
    monkeypatch.setattr(
        evaluate, "draw_contact_sheet", lambda *given, **more: sheets.append((draw(*given, **more), given))
    )
    assert command("evaluate", "--run", shared.run, "--beam-size", "1", "3", "--length-penalty", "0") == 0
    out = capsys.readouterr().out
    assert "test: 12 images, 24 references" in out and "greedy" in out and "nearest" in out
    scores = json.loads((shared.run / "metrics.json").read_text())
    assert set(scores["beams"]) == {"1", "3"} and scores["left_out"] == 0 and scores["perplexity"] > 1
    names = {*(f"bleu{n}" for n in range(1, 5)), "cider", "rouge_l", "exact_match", "distinct_words"}
    assert set(scores["nearest_neighbour"]) == names
    for row in scores["beams"].values():
        assert set(row) == {*names, "novel", "images_per_second"}
    with open(shared.run / "captions.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    each = [float(row["cider"]) for row in rows]
    assert len(rows) == 12 and each == sorted(each)
    assert np.mean(each) == pytest.approx(scores["beams"]["3"]["cider"], abs=1e-3)
    assert rows[0]["image"].startswith("test") and " ||| " in rows[0]["references"]
    assert (shared.run / "contact_sheet.png").read_bytes().startswith(b"\x89PNG")
    ((_, (sheet, _)),) = sheets
    assert list(sheet) == ["drawn at random", "the best by CIDEr-D", "the worst"]
    each = {row["image"]: float(row["cider"]) for row in rows}
    for name, wanted in (("the best by CIDEr-D", max(each.values())), ("the worst", min(each.values()))):
        file, caption, references = sheet[name][0]
        assert each[file.name] == wanted and caption is not None and len(references) == 2
    assert len({file for file, _, _ in sheet["drawn at random"]}) == len(sheet["drawn at random"])


def test_other_data_and_no_training_images(shared, command, scenes, tmp_path, capsys):
    """Scores a captions file as a whole; without the training images there is no baseline, but a message."""
    run = tmp_path / "run"
    shutil.copytree(shared.run, run)
    config = run / "config.json"
    config.write_text(config.read_text().replace(str(shared.data), str(tmp_path / "gone")))
    scenes(tmp_path / "data", "holiday", 3, 9)
    file = tmp_path / "data" / "captions_holiday.tsv"
    assert command("evaluate", "--run", run, "--data", file, "--beam-size", "2") == 0
    captured = capsys.readouterr()
    assert "length penalty 0.7" in captured.out and "greedy" not in captured.out
    assert "no baseline of the nearest training image" in captured.err and "3 images" in captured.out
    scores = json.loads((run / "metrics.json").read_text())
    assert "nearest_neighbour" not in scores and "novel" not in scores["beams"]["2"]
    assert command("evaluate", "--run", run, "--data", tmp_path / "data", "--split", "1999") == 2
    assert "has no captions: expected captions_train.tsv" in capsys.readouterr().err


def test_a_part_that_is_not_there(shared, command, capsys):
    assert command("evaluate", "--run", shared.run, "--split", "1999") == 2
    assert "has no part 1999: expected captions_1999.tsv" in capsys.readouterr().err


def test_perplexity_is_that_of_the_training_loss_without_smoothing(trained, images):
    captions = dataset.encode(images.captioned, trained.preprocessing)
    found = Perplexity(trained.model)(captions, images.features, replace(trained.config, batch_pairs=5).data)
    loss = make_loss(trained.model, trained.config)
    sums = [loss(batch, False)["nll"] for batch in batches.feature_batches(captions, images.features, batch_pairs=7)]
    assert found == pytest.approx(float(sum(t for t, _ in sums)) / float(sum(w for _, w in sums)), rel=1e-5)
    assert float(sum(w for _, w in sums)) == captions.lengths.sum() + len(captions)


def test_features_of_the_model_as_it_is_now(trained, images):
    found = FeatureExtractor(trained.model, trained.preprocessing)(images)
    np.testing.assert_allclose(found, images.features, rtol=1e-4, atol=1e-4)


def test_images_are_alone_as_in_a_batch(trained, images):
    decoder = feature_decoder(trained)
    for beam_size in (1, 4):
        decode = decoder.batched(beam_size=beam_size, length_penalty=0.0)
        captions, numbers = decode(images.features)
        for number in (0, 7):
            alone, found = decode(images.features[number : number + 1])
            assert alone == [captions[number]]
            assert found["score"][0] == pytest.approx(numbers["score"][number], abs=1e-4)


def test_the_nearest_image_by_cosine():
    training = dataset.Images(
        Captioned({}, {"x": ["first of x", "second"], "y": ["of y"]}), {}, features=np.array([[1.0, 0.1], [0.1, 9.0]])
    )
    found = nearest_captions(np.array([[5.0, 0.0], [1.0, 0.2], [0.2, 0.3], [0.0, 0.0]]), training)
    assert found[:3] == ["first of x", "first of x", "of y"] and len(found) == 4


def test_the_score_of_each_caption_makes_that_of_all():
    texts, references = ["a dog runs", "two cats"], [["a dog runs", "a dog"], ["three birds", "two birds"]]
    assert np.mean(scores_of_each(texts, references)) == pytest.approx(all_scores(texts, references)["cider"])
