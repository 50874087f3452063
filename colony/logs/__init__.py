"""Reads what processes wrote: log files, right across rotation; standard library only."""
