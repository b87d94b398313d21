"""Which network, which weights, which preprocessing, which head."""
