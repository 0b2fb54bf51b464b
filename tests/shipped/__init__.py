"""Tests of what users install, not of this tree."""
