"""`python -m recsys` is `recsys`."""

from recsys.cli import main

main()
