"""Classifiers on features: the objective, its solvers, softmax regression, sweeps, other heads."""
