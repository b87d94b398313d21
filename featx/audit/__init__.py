"""What data and features tell of themselves: leaks, doubtful labels, and how similar representations are."""
