"""Writes and uses exports, without training code."""
