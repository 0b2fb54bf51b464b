"""Who may do what, and who did what: API keys and the audit log, as verbs of the store. The scripts of webhook secrets are here, too."""
