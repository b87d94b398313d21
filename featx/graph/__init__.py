"""A network as a graph: tracing, shapes, folding, pooling, hooks."""
