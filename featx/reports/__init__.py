"""What runs tell: what their numbers depend on, side by side, over seeds, as tables and figures."""
