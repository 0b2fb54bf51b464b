"""The job store: verbs as data, the scripts that Redis runs, and who runs them."""
