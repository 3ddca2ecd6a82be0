"""SMPP 3.4 (Issue 1.2), and what of 5.0 a 3.4 peer may meet. Import the module that owns the noun."""
