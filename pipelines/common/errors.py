"""The one kind of error that is shown to a person without a traceback."""


class UserError(Exception):
    """A fault the user can mend: one sentence that names the file, line or field and says what was expected."""
