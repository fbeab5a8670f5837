"""`python -m gpubox`."""

from gpubox.cli import main

main()
