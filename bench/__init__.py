"""Simulated carriers, a load generator, and the scenarios that measure the gateway."""
