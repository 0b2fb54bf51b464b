"""Files: uploads for the inputs of models, and what uploads of every kind share."""
