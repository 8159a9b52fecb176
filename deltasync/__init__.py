"""deltasync mirrors files and trees to another machine, sending only what changed, sealed with AES-GCM. The command is the interface."""

__all__ = ["__version__"]

__version__ = "0.1.0"
