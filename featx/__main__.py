"""``python -m featx``: the program, as ``featx`` runs it."""

from featx.cli.main import main

if __name__ == "__main__":
    main()
