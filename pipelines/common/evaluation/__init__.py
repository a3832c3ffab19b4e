"""Shared parts of the evaluation of several tasks: robustness, reliability."""
