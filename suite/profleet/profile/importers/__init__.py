"""Measurements of other people as points (`profleet.profile.points`): one module a source."""
