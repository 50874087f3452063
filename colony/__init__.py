"""A process supervisor on Twisted whose control plane is a directory of JSON."""

__all__ = ["__version__"]

__version__ = "0.1.0"
