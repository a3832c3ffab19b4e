"""Models that are not loaded. This module does not import TensorFlow."""

import dataclasses

LOADING, END = "LOADING", "END"  # states of TensorFlow Serving; that of a loaded model is AVAILABLE


@dataclasses.dataclass(frozen=True)
class Pending:
    """Takes the place of a model that is being loaded, or that could not be.

    Attributes:
        task: key of TASKS.
        state: LOADING or END.
    """

    task: str
    state: str

    @property
    def sentence(self) -> str:
        """Returns the answer to a request."""
        if self.state == LOADING:
            return "the model is being loaded: try again"
        return "the model cannot be used: the log of the server has the reason"
