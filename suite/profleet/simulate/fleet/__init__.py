"""Fleets: groups of replicas on hardware that has a profile, or with assumed service times."""

from __future__ import annotations

from profleet.simulate.fleet.arrays import Fleet, Group
from profleet.simulate.fleet.build import ANY_MODEL, build_fleet
from profleet.simulate.fleet.settings import FleetSettings, ProfiledFleet, TheoryFleet

__all__ = [
    "ANY_MODEL", "Fleet", "FleetSettings", "Group", "ProfiledFleet", "TheoryFleet", "build_fleet",
]  # fmt: skip
