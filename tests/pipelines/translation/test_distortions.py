import json

import pytest

from pipelines.translation.distortions import DISTORTIONS, first_half

SOURCES = ["Ein Mädchen rennt.", "Zwei Männer sitzen dort.", "Viele Straßen!"]
TEXTS = ["A girl runs.", "Two men sit there.", "Many streets!"]
REFERENCES = [["A girl is running.", "A girl runs."], ["Two men sit there."], ["Many roads!"]]
CHANGES = {each.name: each.change for each in DISTORTIONS}


def sources(name: str) -> list[str]:
    return CHANGES[name](SOURCES, TEXTS, REFERENCES).sources


def test_sentences_are_typed_otherwise():
    assert sources("lower_case") == ["ein mädchen rennt", "zwei männer sitzen dort", "viele straßen"]
    assert sources("capitals") == ["EIN MÄDCHEN RENNT.", "ZWEI MÄNNER SITZEN DORT.", "VIELE STRASSEN!"]
    assert sources("no_accents") == ["Ein Maedchen rennt.", "Zwei Maenner sitzen dort.", "Viele Strassen!"]


def test_one_typing_error_in_each_sentence_the_same_each_time():
    found = sources("typo")
    assert found == sources("typo") and all(one != other for one, other in zip(found, SOURCES, strict=True))
    changed = [sum(a != b for a, b in zip(one.split(), other.split(), strict=True))
               for one, other in zip(found, SOURCES, strict=True)]  # fmt: skip
    assert changed == [1, 1, 1]


def test_references_stay_where_the_sentence_does():
    for name in ("lower_case", "capitals", "typo", "no_accents"):
        found = CHANGES[name](SOURCES, TEXTS, REFERENCES)
        assert found.references == REFERENCES and found.unchanged is None


def test_sentences_are_joined_with_their_references_and_translations():
    found = CHANGES["joined"](SOURCES, TEXTS, REFERENCES)
    assert found.sources == [f"{SOURCES[0]} {SOURCES[1]}", f"{SOURCES[2]} {SOURCES[0]}"]
    assert found.references == [["A girl is running. Two men sit there."], ["Many roads! A girl is running."]]
    assert found.unchanged == [f"{TEXTS[0]} {TEXTS[1]}", f"{TEXTS[2]} {TEXTS[0]}"]
    assert CHANGES["joined"](SOURCES[:1], TEXTS[:1], REFERENCES[:1]).sources == [f"{SOURCES[0]} {SOURCES[0]}"]


def test_a_half_is_compared_with_what_the_model_writes_first():
    found = CHANGES["half"](SOURCES, TEXTS, REFERENCES)
    assert found.sources == ["Ein Mädchen", "Zwei Männer", "Viele"]
    assert found.references == [["A girl"], ["Two men"], ["Many"]] and found.unchanged == ["A girl", "Two men", "Many"]
    assert [first_half(text) for text in ("", "a", "a b c d e")] == ["", "a", "a b c"]


@pytest.mark.extra
def test_evaluate_robust(shared, command, capsys):
    assert command("evaluate", "--run", shared.run, "--robust", "--beam-size", "2") == 0
    out = capsys.readouterr().out
    assert "first half: against its own output" in out and "chrF" in out
    scores = json.loads((shared.run / "metrics.json").read_text())
    assert list(scores["robust"]) == ["unchanged", *CHANGES]
    assert scores["robust"]["unchanged"]["bleu"] == scores["beams"]["2"]["bleu"]
    assert scores["robust"]["half"]["unchanged"]["chrf"] == pytest.approx(100)
    assert (shared.run / "robustness.png").read_bytes().startswith(b"\x89PNG")
