"""The body of a refusal. This module does not import TensorFlow, so that guard.py can use it without."""

import json


class RESTError(Exception):
    """An error that the client is told: an HTTP status and a sentence."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


def error_body(sentence: str) -> bytes:
    """Returns the body of an answer to a request that failed."""
    return json.dumps({"error": " ".join(sentence.split())}, ensure_ascii=False).encode(errors="replace")
