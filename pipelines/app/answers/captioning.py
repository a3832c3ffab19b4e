"""The answer of captioning: captions of an image with scores, and where the model looked for each word."""

from pipelines.app import decoding, limits
from pipelines.app.files import Folder, require_size
from pipelines.captioning import predict
from pipelines.common.errors import UserError


def caption(loaded, image: str | None, values, folder: Folder) -> tuple[str, str]:
    """Returns the captions (HTML), and the picture. Raises UserError for a file that is not an image."""
    path = require_size(image, limits.IMAGE, "image")
    options = decoding.read(*values)
    (answer,) = predict.caption(loaded, [(str(path), None)], options)
    if "error" in answer:
        raise UserError(f"{path.name} {answer['error']}")
    drawn = folder.new("caption.png")
    predict.draw(loaded, [answer], drawn)
    return decoding.table(decoding.rows_of(answer, "caption")), str(drawn)
