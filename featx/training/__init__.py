"""End to end: from scratch, with a frozen base, or fine-tuned."""
