"""The answer of sentiment: probabilities of a text, its words coloured by the running probability, and the gates."""

import tensorflow as tf

from pipelines.app import limits, markup
from pipelines.app.files import Folder, require_utf8
from pipelines.common.errors import UserError
from pipelines.common.pictures.text_rows import MAX_WORDS, tints
from pipelines.sentiment import predict

SHOWN = 6  # labels


def classify(loaded, text: str, folder: Folder) -> tuple[str, str, str]:
    """Returns the probabilities, the coloured words (HTML), and the picture. Raises UserError for a text without words,
    and for one that is too long."""
    if not text.strip():
        raise UserError("there is no text yet: write one, or choose an example")
    if len(text) > limits.TEXT:
        raise UserError(f"the text has {len(text):,} characters: expected at most {limits.TEXT:,}")
    require_utf8(text, "the text")
    found = loaded.signatures["serving_default"](text=tf.constant([text]))
    explained = predict.explain(loaded.signatures["explain"], text)
    if not explained.words:
        raise UserError("the text has no words")
    order = found["probabilities"].numpy()[0].argsort()[::-1][:SHOWN]
    shares = [(explained.classes[label], float(found["probabilities"][0, label])) for label in order]
    titles = [
        f"{explained.classes[int(row.argmax())]}, {row.max():.1%}, after this word" for row in explained.probability
    ]
    words = markup.words(explained.words, tints(explained.probability), titles)
    said = "Each word has the colour of the answer to the text up to and including it"
    if len(explained.classes) == 2:
        said += f": orange for {explained.classes[0]}, blue for {explained.classes[1]}"
    if len(explained.words) >= MAX_WORDS:
        said += f". The first {MAX_WORDS} words are shown; the answer above is that to the whole text"
    drawn = folder.new("words.png")
    predict.draw(explained, drawn)
    return markup.bars(shares), words + markup.note(said + "."), str(drawn)
