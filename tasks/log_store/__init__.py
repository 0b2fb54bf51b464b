"""The latest log lines of every deployment, kept in the store so that they can be read from anywhere."""
