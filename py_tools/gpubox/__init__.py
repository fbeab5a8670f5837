"""gpubox: stand up, use and take down rented GPU boxes."""

__version__ = "0.1.0"
