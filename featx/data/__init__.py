"""Images, labels and splits: where they come from, how they are decoded, which rows are what."""
