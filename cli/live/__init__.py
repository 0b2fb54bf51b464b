"""The commands that show a whole server: its nodes, and everything at once, live."""
