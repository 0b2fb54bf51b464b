"""The job store: the verbs as data, the scripts that Redis runs, and the store that runs them."""
