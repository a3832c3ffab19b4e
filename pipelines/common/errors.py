"""The errors that are printed without a traceback."""


class UserError(Exception):
    """An error that the user can correct: one sentence that names the file, line or field and what was expected."""


class WorkerLostError(Exception):
    """Another worker of the cluster has ended or does not answer: when all are started again, the training resumes."""
