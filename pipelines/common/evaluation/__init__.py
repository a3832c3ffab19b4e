"""What evaluations of several tasks share: robustness, reliability."""
