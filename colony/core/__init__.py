"""Decides: what is wanted, what is, and what follows; pure functions and frozen values."""
