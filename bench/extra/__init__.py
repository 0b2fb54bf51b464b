"""Benches that `make bench` leaves out: of kills, crowds, batches, chains, traces and clocks. Each is run by its own command."""
