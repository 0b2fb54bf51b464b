"""What keeps open pages up to date: when they should ask again, and their parts, rendered once for all who see the same."""
