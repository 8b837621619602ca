"""`python -m jailkit`."""

from jailkit.cli import main

main()
