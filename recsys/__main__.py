"""`python -m recsys` is `recsys`."""

from recsys.cli.application import main

main()
