"""Limits of what the page takes; the page states them. They bound the memory and the time of a call."""

TEXT = 20_000  # characters of a text to classify
SENTENCES = 20  # of a translation
SENTENCE = 1_000  # characters
PREFIX = 200  # characters
IMAGE = 20 * 2**20  # bytes
VIDEO = 100 * 2**20  # bytes; also of a file of features
SECONDS = 120  # of a video
FRAMES = 7_200  # of a video, at its own rate
BODY = 4 * 2**20  # bytes of a request that is not an upload, such as a frame of a webcam
RECEIVE = 120.0  # seconds to receive a request
QUEUE = 64  # calls that wait
REQUESTS = 512  # at the same time; an open page keeps two
FILE_AGE = 1_800  # seconds after which a temporary file is deleted

# Ranges of the options of decoding.
OPTIONS: dict[str, tuple[float, float]] = {
    "beam_size": (1, 50),
    "length_penalty": (0, 10),
    "max_length": (1, 200),
    "n_best": (1, 10),
    "temperature": (0.001, 100),
    "top_k": (0, 2**31 - 1),
    "top_p": (0.000001, 1),
    "seed": (0, 2**31 - 1),
}
