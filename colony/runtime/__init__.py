"""Does: Twisted and the operating system, one port a file."""
