"""The fields for the options of decoding, which translation and captioning share."""

import gradio

from pipelines.app import limits, markup
from pipelines.app.files import require_utf8
from pipelines.common.errors import UserError
from pipelines.common.serving.decoding_options import DecodingOptions

SEARCH = ("n_best", "beam_size", "length_penalty", "max_length")
SAMPLING = ("temperature", "top_k", "top_p", "seed", "max_length")
FIELDS = ("prefix", "sampled", *SEARCH, *SAMPLING[:-1])


class Decoding:
    """The fields. Empty ones have the values of the model.

    Attributes:
        fields: in the order of FIELDS, the arguments of `read`.
    """

    def __init__(self, task: str):
        with gradio.Accordion("Options", open=False):
            gradio.Markdown("Empty fields have the values of the model.")
            prefix = gradio.Textbox(
                label="First words of the answer (warm start)", max_length=limits.PREFIX, elem_id=f"{task}-prefix"
            )
            sampled = gradio.Checkbox(label="Sample the answer instead of searching it", elem_id=f"{task}-sampled")
            with gradio.Row() as searching:
                n_best = gradio.Slider(*limits.OPTIONS["n_best"], value=1, step=1, label="Answers (n-best)")
                beam_size = number("Beam size", 0)
                length_penalty = number("Length penalty", None)
            with gradio.Row(visible=False) as sampling:
                temperature = number("Temperature", None)
                top_k = number("Top k (0: all)", 0)
                top_p = number("Top p", None)
                seed = number("Seed", 0)
            max_length = number("Maximum length", 0)
        sampled.change(
            lambda chosen: (gradio.Row(visible=not chosen), gradio.Row(visible=chosen)),
            sampled, [searching, sampling], api_visibility="private",
        )  # fmt: skip
        self.fields = [prefix, sampled, n_best, beam_size, length_penalty, max_length, temperature, top_k, top_p, seed]


def number(label: str, precision: int | None) -> gradio.Number:
    return gradio.Number(label=label, precision=precision, value=None, min_width=100)


def read(*values) -> DecodingOptions:
    """Returns the options that the fields have. Raises UserError if one is out of its range."""
    given = dict(zip(FIELDS, values, strict=True))
    prefix, sampled = " ".join((given.pop("prefix") or "").split()), given.pop("sampled")
    if len(prefix) > limits.PREFIX:
        raise UserError(f"the first words have {len(prefix):,} characters: expected at most {limits.PREFIX}")
    require_utf8(prefix, "the text of the first words")
    chosen = {name: given[name] for name in (SAMPLING if sampled else SEARCH) if given[name] is not None}
    for name, value in chosen.items():
        low, high = limits.OPTIONS[name]
        if not low <= value <= high:
            raise UserError(f"{name.replace('_', ' ')} is {value}: expected a number from {low} to {high}")
    if sampled:
        chosen.setdefault("temperature", 1.0)
    return DecodingOptions(prefix=prefix, **chosen)


def rows_of(answer: dict, name: str) -> list[list[str]]:
    """Returns a row for each candidate of an answer: rank, sentence, score and confidence.

    Args:
        answer: an object of `exports.sentences`.
        name: that of the sentence in it.
    """
    candidates = answer.get("candidates", [answer[name]])
    scores = answer.get("scores", [answer["score"]])
    rows = []
    for rank, candidate in enumerate(candidates):
        score = scores[rank] if rank < len(scores) else None
        confidence = f"{answer['confidence']:.0%}" if rank == 0 and "confidence" in answer else ""
        if candidate or not rank:
            shown = "" if score is None else f"{score:.3f}"
            rows.append([str(rank + 1), candidate or "(nothing)", shown, confidence])
    return rows


HEADER = ["", "answer", "score", "confidence"]


def table(rows: list[list[str]]) -> str:
    """Returns the table of `rows_of`, without the confidence if there is none."""
    columns = len(HEADER) if any(row[-1] for row in rows) else len(HEADER) - 1
    return markup.table(HEADER[:columns], [row[:columns] for row in rows], ["", "score", "confidence"])
