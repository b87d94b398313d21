"""Whole experiments: rows of fits and trainings on the same images, planned, run, resumed and reported."""
