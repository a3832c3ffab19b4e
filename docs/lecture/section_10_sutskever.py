"""10. LSTMs in practice: the model of Sutskever et al. 2014, "Sequence to sequence learning with neural networks".

Its weights are counted from the preset `sutskever2014` without making them. What training and decoding cost, and what
beam search and a reversed source give, is read from docs/experiments/translation.md, which has the commands.
"""

import re

import lecture
import numpy as np

from pipelines.common.pictures.drawing import BLUE, INK, PALETTE
from pipelines.common.pictures.panels import draw_line, panels
from pipelines.translation.config import ModelConfig
from pipelines.translation.presets import PRESETS

FIGURES = ("10_sutskever.png",)
QUOTES = (
    "| embedding of the source words | 160,000 × 1,000 | {source_embedding:.1f} |",
    "| embedding of the target words | 80,000 × 1,000 | {target_embedding:.1f} |",
    "| encoder, 4 layers | 4 × (1,000 × 4,000 + 1,000 × 4,000 + 4,000) | {encoder:.1f} |",
    "| decoder, 4 layers | the same | {decoder:.1f} |",
    "| softmax | 1,000 × 80,000 + 80,000 | {softmax:.1f} |",
    "| in all | | {all:.1f} |",
    "on 128 sentences of 30 words takes {step_of_docs:.1f} s",
    "{recurrent_tflop:.2f} TFLOP in the recurrent layers and {softmax_tflop:.2f} in the softmax",
    "at {recurrent_speed:.0f} and {softmax_speed:.0f} GFLOP/s, the speed of these products here, {products:.1f} s of",
    "{days:.0f} days",
    "from BLEU {beam_1:.1f} to {beam_12:.1f}, and takes {slower:.0f} times as long",
    "{reversed:.1f} instead of {forward:.1f}",
)
TABLES = lecture.ROOT / "docs" / "experiments" / "translation.md"
PAIRS = 12e6  # sentence pairs of WMT'14 that the paper trains on
SENTENCES, WORDS = 128, 30  # of a batch; of a sentence, on each side


def weights(model: ModelConfig, source_vocabulary: int, target_vocabulary: int) -> dict[str, int]:
    """Returns the number of weights of each part of a TranslationModel that reads in one direction, without attention,
    context or tied embeddings."""

    def lstm(inputs: int, units: int) -> int:
        return inputs * 4 * units + units * 4 * units + 4 * units  # W_x, W_h and b of the four gates

    stack = sum(lstm(model.units if layer else model.embedding_units, model.units) for layer in range(model.layers))
    return {
        "source_embedding": source_vocabulary * model.embedding_units,
        "target_embedding": target_vocabulary * model.embedding_units,
        "encoder": stack,
        "decoder": stack,
        "softmax": model.units * target_vocabulary + target_vocabulary,
    }


def measured() -> dict[str, float]:
    """Returns what docs/experiments/translation.md has measured."""
    text = TABLES.read_text("utf-8")

    def find(pattern: str) -> list[float]:
        found = re.search(pattern, text.replace("\n", " "))
        if not found:
            raise ValueError(f"{TABLES} has no text like {pattern!r} any more")
        return [float(group) for group in found.groups()]

    numbers = {}
    (numbers["step_of_docs"],) = find(r"384 million weights, batch 128, 30 words on each side\) takes ([\d.]+) s")
    numbers["recurrent_speed"], numbers["softmax_speed"] = find(r"one large product \((\d+) and (\d+) GFLOP/s")
    of_multi30k = r"## multi30k .*?"
    for beam in (1, 2, 5, 12):
        bleu, _, speed = find(rf"{of_multi30k}\| beam {beam}(?:, the preset's)? \| ([\d.]+) \| ([\d.]+) \| (\d+) \|")
        numbers |= {f"beam_{beam}": bleu, f"speed_{beam}": speed}
    row = r" \| [\d.]+ \| \d+ \| [\d.]+ \| ([\d.]+) \|"
    (numbers["reversed"],) = find(r"source reversed, no context \(as in the paper\)" + row)
    (numbers["forward"],) = find(r"the same, source forward" + row)
    return numbers


def run(folder, short=False) -> dict:
    config = PRESETS["sutskever2014"][1]
    found = weights(config.model, config.vocabulary.source_vocabulary, config.vocabulary.target_vocabulary)
    numbers = {name: count / 1e6 for name, count in found.items()}
    numbers["all"] = sum(found.values()) / 1e6
    numbers |= measured()
    # A product with a matrix of weights takes 2 operations for each weight and word; its gradient with respect to the
    # inputs and that with respect to the weights take as many again. Embeddings are looked up.
    words = SENTENCES * WORDS
    operations = {
        "recurrent": 6 * words * (found["encoder"] + found["decoder"]),
        "softmax": 6 * words * found["softmax"],
    }
    numbers |= {f"{name}_tflop": count / 1e12 for name, count in operations.items()}
    numbers["products"] = sum(count / 1e9 / numbers[f"{name}_speed"] for name, count in operations.items())
    numbers["days"] = config.training.epochs * PAIRS / SENTENCES * numbers["step_of_docs"] / 86_400
    numbers["slower"] = numbers["speed_1"] / numbers["speed_12"]
    draw(found, numbers, folder / FIGURES[0])
    return numbers


def draw(found, numbers, png):
    titles = ["384 million weights", "beam search, preset multi30k", "its speed", "order of the source"]
    with panels(png, titles, across=4, width=3.3, height=2.9) as (parts, bleu, speed, order):
        names = {name: name.replace("_", "\n") for name in found}
        parts.barh(range(len(found)), [count / 1e6 for count in found.values()], color=BLUE, height=0.6)
        for place, count in enumerate(found.values()):
            parts.text(count / 1e6, place, f" {count / 1e6:.1f}", va="center", fontsize=8.5)
        parts.set_yticks(range(len(found)), names.values())
        parts.invert_yaxis()
        parts.grid(False)
        parts.set(xlabel="million weights", xlim=(0, 200))
        beams = [1, 2, 5, 12]
        draw_line(bleu, beams, [numbers[f"beam_{beam}"] for beam in beams], 0)
        draw_line(speed, beams, [numbers[f"speed_{beam}"] for beam in beams], 0)
        bleu.set(ylabel="BLEU, test_2016_flickr")
        speed.set(ylabel="sentences per second", ylim=(0, None))
        for panel in (bleu, speed):
            panel.set(xlabel="beam size", xticks=beams)
        values = [numbers["forward"], numbers["reversed"]]
        order.bar(range(2), values, color=[PALETTE[4], BLUE], edgecolor=INK, width=0.6)
        for place, value in enumerate(values):
            order.text(place, value, f"{value:.1f}", ha="center", va="bottom")
        order.set_xticks(range(2), ["forward", "reversed"])
        order.set(ylabel="BLEU, test_2016_flickr", ylim=(0, 1.2 * np.max(values)))


if __name__ == "__main__":
    lecture.main(__file__)
