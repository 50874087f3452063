"""Tells Twisted which commands colony adds; imports nothing of colony, and never changes."""

from twisted.application.service import ServiceMaker

colony = ServiceMaker(
    "colony",
    "colony.tap",
    "Keep the processes running that a directory of JSON files describes.",
    "colony",
)

scheduler = ServiceMaker(
    "colony-scheduler",
    "colony.scheduler",
    "Run one short command again and again.",
    "colony-scheduler",
)
