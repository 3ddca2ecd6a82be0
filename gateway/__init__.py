"""The gateway: applications on one side, carriers on the other, evidence between them."""

__version__ = "0.1.0"
