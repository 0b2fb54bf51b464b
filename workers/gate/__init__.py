"""The gate for other machines: TCP with a token in front of a host's Unix socket."""
