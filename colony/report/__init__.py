"""Tells: readers of reports, who never call back."""
