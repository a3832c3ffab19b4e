"""The table of tests/benchmarks/typed_sentences.py."""

from collections import Counter

from tests.benchmarks import typed_sentences


def test_the_sentences_and_the_table_of_a_run(shared):
    rows = typed_sentences.read_sentences()
    own = [row for row in rows if row["kind"] != "README"]
    assert len({row["text"] for row in rows}) == len(rows)
    assert Counter(row["label"] for row in own) == {"positive": 20, "negative": 20}
    answers = typed_sentences.ask(shared.run, [row["text"] for row in rows])
    lines = typed_sentences.table(rows, {"run": answers}).splitlines()
    right = Counter(
        row["kind"] == "README" for row, (label, _) in zip(rows, answers, strict=True) if label == row["label"]
    )
    assert len(lines) == 2 + len(rows) + 2
    assert lines[-2:] == [
        f"| the forty |  | right | {right[False]} of 40 |",
        f"| README |  | right | {right[True]} of 6 |",
    ]
    assert sum("**" in line for line in lines) == len(rows) - right.total()
