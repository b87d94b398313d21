"""What a run writes down and keeps, tidying, and what its model says of new images."""
