"""The error that is printed without a traceback."""


class UserError(Exception):
    """An error that the user can correct: one sentence that names the file, line or field and what was expected."""
