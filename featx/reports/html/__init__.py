"""Runs as one page of HTML that needs nothing else: answer, tables, figures, mistakes, provenance."""
