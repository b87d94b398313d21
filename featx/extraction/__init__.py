"""Images to activations to store, and how quick that is."""
